"""Many rows in one statement. The SQL is the same however many there are, so it is made once."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Column, Connection, Table

from service.storage.engine.batches import postgres, sqlite
from service.storage.engine.batches.documents import document as document
from service.storage.engine.batches.rows import BEFORE, OnConflict, Rows


def skip(statement: Any) -> Any:
    """Leave the row that is there as it is."""
    return statement.on_conflict_do_nothing()


def insert(
    connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict | None = None
) -> int:
    """Insert rows that all have the same columns; answers how many were written."""
    if not rows:
        return 0
    insert_all = postgres.insert if is_postgres(connection) else sqlite.insert
    return insert_all(connection, table, rows, on_conflict)


def replace(connection: Connection, table: Table, rows: Rows, guard: str) -> int:
    """Set columns of the rows of the same id, where `guard` is still as it was.

    Args:
        rows: `id`, the columns to set, the same for all, and `before_<guard>`.

    Returns:
        How many were written.
    """
    if not rows:
        return 0
    names = tuple(name for name in rows[0] if name not in ("id", BEFORE + guard))
    replace_all = postgres.replace if is_postgres(connection) else sqlite.replace
    return replace_all(connection, table, names, rows, guard)


def find(
    connection: Connection,
    wanted: Column[Any],
    values: Collection[str],
    names: tuple[str, ...],
    *,
    lock: bool = False,
) -> list[dict[str, Any]]:
    """Those columns of the rows in which `wanted` is one of the values.

    Args:
        lock: keep the rows from other writers until we commit; in the order of `wanted`, so that
            no two writers wait for each other.
    """
    if is_postgres(connection):
        return postgres.find(connection, wanted, values, names, lock=lock)
    return sqlite.find(connection, wanted, values, names)


def is_postgres(connection: Connection) -> bool:
    """Which of the two it is."""
    return connection.dialect.name == "postgresql"
