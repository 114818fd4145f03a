"""Statements over many rows. The SQL does not depend on their number, so it is compiled once."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Column, Connection, Table

from service.storage.engine.batches import postgres, sqlite
from service.storage.engine.batches.documents import dump_json as dump_json
from service.storage.engine.batches.rows import OLD_PREFIX, OnConflict, Rows


def skip(statement: Any) -> Any:
    """Keep the existing row on a conflict; an `OnConflict`."""
    return statement.on_conflict_do_nothing()


def insert(
    connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict | None = None
) -> int:
    """Insert rows that all have the same columns, and return how many were written."""
    if not rows:
        return 0
    insert_all = postgres.insert if is_postgres(connection) else sqlite.insert
    return insert_all(connection, table, rows, on_conflict)


def replace(connection: Connection, table: Table, rows: Rows, guard: str) -> int:
    """Update rows by id, each only if its column `guard` still has the expected value.

    Args:
        connection: of the current transaction.
        table: the table.
        rows: for each row its `id`, the columns to set (the same ones in every row), and
            `before_<guard>`, the expected value.
        guard: the name of the column to compare.

    Returns:
        How many rows were written.
    """
    if not rows:
        return 0
    names = tuple(name for name in rows[0] if name not in ("id", OLD_PREFIX + guard))
    replace_all = postgres.replace if is_postgres(connection) else sqlite.replace
    return replace_all(connection, table, names, rows, guard)


def find(
    connection: Connection,
    wanted: Column[Any],
    values: Collection[Any],
    names: tuple[str, ...],
    *,
    lock: bool = False,
) -> list[dict[str, Any]]:
    """Select columns of the rows in which the column `wanted` has one of the values.

    Args:
        connection: of the current transaction.
        wanted: the column to compare.
        values: the values to look for.
        names: the names of the columns to return.
        lock: lock the rows until the transaction commits. They are locked in the order of
            `wanted`, so that no two writers deadlock.
    """
    if is_postgres(connection):
        return postgres.find(connection, wanted, values, names, lock=lock)
    return sqlite.find(connection, wanted, values, names)


def is_postgres(connection: Connection) -> bool:
    """Whether the connection is to PostgreSQL; otherwise it is to SQLite."""
    return connection.dialect.name == "postgresql"
