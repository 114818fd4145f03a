"""Many rows in one statement: arrays and `unnest` on PostgreSQL, `executemany` on SQLite.

Either way the SQL is the same however many rows there are, so it is built and prepared once.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    Connection,
    FromClause,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    column,
    func,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    Insert = postgresql.Insert | sqlite.Insert

Rows = Sequence[Mapping[str, Any]]
_BEFORE = "before_"  # begins the names of values that say which row is meant
_SENT = "new_"  # begins the names of arrays


OnConflict = Callable[[Any], Any]
"""Tells an insert what to do with a row that is there already."""


def skip(statement: Any) -> Any:
    """Leave the row that is there as it is."""
    return statement.on_conflict_do_nothing()


def insert(
    connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict | None = None
) -> int:
    """Insert rows that all have the same columns; answers how many were written."""
    if not rows:
        return 0
    names = tuple(rows[0])
    counted = {"preserve_rowcount": True}
    if not is_postgres(connection):
        each = _insert_each(table, on_conflict)
        return connection.execute(each, list(rows), execution_options=counted).rowcount
    statement, values = _insert_unnested(table, names, on_conflict), _arrays(table, names, rows)
    return connection.execute(statement, values, execution_options=counted).rowcount


def replace(connection: Connection, table: Table, rows: Rows, guard: str) -> int:
    """Put rows in the place of those of the same id, where `guard` is still as it was.

    Args:
        rows: whole rows, and `before_<guard>`.

    Returns:
        How many were written.
    """
    if not rows:
        return 0
    names = tuple(name for name in rows[0] if not name.startswith(_BEFORE))
    if not is_postgres(connection):
        places = [{**row, f"{_BEFORE}id": row["id"]} for row in rows]
        return connection.execute(_replace_each(table, guard), places).rowcount
    values = _arrays(table, names, rows)
    values[_SENT + _BEFORE + guard] = [row[_BEFORE + guard] for row in rows]
    return connection.execute(_replace_unnested(table, names, guard), values).rowcount


def is_postgres(connection: Connection) -> bool:
    """Which of the two it is."""
    return connection.dialect.name == "postgresql"


@cache
def _insert_each(table: Table, on_conflict: OnConflict | None) -> "Insert":
    from sqlalchemy.dialects.sqlite import insert

    statement = insert(table)
    return on_conflict(statement) if on_conflict else statement


@cache
def _insert_unnested(
    table: Table, names: tuple[str, ...], on_conflict: OnConflict | None
) -> "Insert":
    from sqlalchemy.dialects.postgresql import insert  # which brings its drivers along

    new = _unnested({name: _sent_as(table.c[name]) for name in names})
    values = select(*(_as_kept(table.c[name], new) for name in names))
    statement = insert(table).from_select(list(names), values)
    return on_conflict(statement) if on_conflict else statement


@cache
def _replace_each(table: Table, guard: str) -> Update:
    return update(table).where(
        table.c.id == bindparam(f"{_BEFORE}id"), table.c[guard] == bindparam(_BEFORE + guard)
    )


@cache
def _replace_unnested(table: Table, names: tuple[str, ...], guard: str) -> Update:
    types = {name: _sent_as(table.c[name]) for name in names}
    new = _unnested({**types, _BEFORE + guard: table.c[guard].type})
    return (
        update(table)
        .values({name: _as_kept(table.c[name], new) for name in names if name != "id"})
        .where(table.c.id == new.c.id, table.c[guard] == new.c[_BEFORE + guard])
    )


def _unnested(types: Mapping[str, TypeEngine[Any]]) -> FromClause:
    arrays = (bindparam(_SENT + name, type_=ARRAY(type_)) for name, type_ in types.items())
    columns = (column(name, type_) for name, type_ in types.items())
    return func.unnest(*arrays).table_valued(*columns, name="new").render_derived()


def _sent_as(kept: Column[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(kept.type, JSON) else kept.type


def _as_kept(kept: Column[Any], new: FromClause) -> Any:
    sent = new.c[kept.name]
    return cast(sent, JSON) if isinstance(kept.type, JSON) else sent


def _arrays(table: Table, names: Sequence[str], rows: Rows) -> dict[str, list[Any]]:
    return {_SENT + name: [_sender(table.c[name])(row[name]) for row in rows] for name in names}


def _sender(kept: Column[Any]) -> Callable[[Any], Any]:
    return _json if isinstance(kept.type, JSON) else _as_it_is


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _as_it_is(value: Any) -> Any:
    return value
