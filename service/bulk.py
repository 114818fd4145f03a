"""Many rows in one statement: arrays and `unnest` on PostgreSQL, `executemany` on SQLite.

Either way the SQL is the same however many rows there are, so it is built and prepared once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
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
    if not is_postgres(connection):
        return _insert_each(table, names, on_conflict).run(connection, rows)
    statement, values = _insert_unnested(table, names, on_conflict), _arrays(table, names, rows)
    counted = {"preserve_rowcount": True}
    return connection.execute(statement, values, execution_options=counted).rowcount


def replace(connection: Connection, table: Table, rows: Rows, guard: str) -> int:
    """Set columns of the rows of the same id, where `guard` is still as it was.

    Args:
        rows: `id`, the columns to set, the same for all, and `before_<guard>`.

    Returns:
        How many were written.
    """
    if not rows:
        return 0
    names = tuple(name for name in rows[0] if name not in ("id", _BEFORE + guard))
    if not is_postgres(connection):
        return _replace_each(table, names, guard).run(connection, rows)
    values = _arrays(table, ("id", *names), rows)
    values[_SENT + _BEFORE + guard] = [row[_BEFORE + guard] for row in rows]
    return connection.execute(_replace_unnested(table, names, guard), values).rowcount


def among(column: Column[Any], name: str, *, postgres: bool) -> ColumnElement[bool]:
    """Whether a column is one of a list, which is given under `name`."""
    if postgres:
        return column == func.any(bindparam(name, type_=ARRAY(column.type)))
    each = func.json_each(bindparam(name, type_=JSON)).table_valued("value")
    return column.in_(select(each.c.value))


def document(value: Any) -> str:
    """JSON as it is kept: in the words in which it is sent, so that it may go out as it stands."""
    return to_json(value, inf_nan_mode="null").decode()


def is_postgres(connection: Connection) -> bool:
    """Which of the two it is."""
    return connection.dialect.name == "postgresql"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as SQLite gets it, the names of its values, and how each of them is sent.

    SQLAlchemy has compiled it, but does not see the rows: that would cost more than to write them.
    """

    sql: str
    values: tuple[tuple[str, Callable[[Any], Any] | None], ...]

    def run(self, connection: Connection, rows: Rows) -> int:
        """Run it for each of the rows; answers how many were written."""
        sent = [
            tuple([send(row[name]) if send else row[name] for name, send in self.values])
            for row in rows
        ]
        return connection.exec_driver_sql(self.sql, sent).rowcount


def _prepared(statement: "Insert | Update", names: Sequence[str]) -> Prepared:
    from sqlalchemy.dialects.sqlite import dialect

    sqlite = dialect(json_serializer=document)
    compiled = statement.compile(dialect=sqlite, column_keys=names)
    values = [(name, compiled.binds[name].type) for name in compiled.positiontup or ()]
    return Prepared(
        compiled.string,
        tuple((n, type_.dialect_impl(sqlite).bind_processor(sqlite)) for n, type_ in values),
    )


@cache
def _insert_each(table: Table, names: tuple[str, ...], on_conflict: OnConflict | None) -> Prepared:
    from sqlalchemy.dialects.sqlite import insert

    statement = insert(table)
    return _prepared(on_conflict(statement) if on_conflict else statement, names)


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
def _replace_each(table: Table, names: tuple[str, ...], guard: str) -> Prepared:
    meant = table.c.id == bindparam("id"), table.c[guard] == bindparam(_BEFORE + guard)
    return _prepared(update(table).where(*meant), names)


@cache
def _replace_unnested(table: Table, names: tuple[str, ...], guard: str) -> Update:
    types = {name: _sent_as(table.c[name]) for name in ("id", *names)}
    new = _unnested({**types, _BEFORE + guard: table.c[guard].type})
    return (
        update(table)
        .values({name: _as_kept(table.c[name], new) for name in names})
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
    return None if value is None else document(value)


def _as_it_is(value: Any) -> Any:
    return value
