"""Statements over many rows on PostgreSQL: one array per column, and `unnest`.

SQLAlchemy compiles each statement once. The arrays go to the driver directly.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    Connection,
    CursorResult,
    Dialect,
    FromClause,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from service.storage.engine.batches.documents import dump_json
from service.storage.engine.batches.rows import NEW_PREFIX, OLD_PREFIX, OnConflict, Rows, read_rows

if TYPE_CHECKING:
    from sqlalchemy import Executable

_VALUES = "wanted_values"


def insert(connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict | None) -> int:
    """Implement `batches.insert`."""
    names = tuple(rows[0])
    statement = _insert_unnested(connection.dialect, table, names, on_conflict)
    return statement.run(connection, _arrays(table, names, rows)).rowcount


def replace(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Rows, guard: str
) -> int:
    """Implement `batches.replace`."""
    values = _arrays(table, ("id", *names), rows)
    values[NEW_PREFIX + OLD_PREFIX + guard] = [row[OLD_PREFIX + guard] for row in rows]
    return (
        _replace_unnested(connection.dialect, table, names, guard).run(connection, values).rowcount
    )


def find(
    connection: Connection,
    wanted: Column[Any],
    values: Collection[Any],
    names: tuple[str, ...],
    *,
    lock: bool,
) -> list[dict[str, Any]]:
    """Implement `batches.find`."""
    return _find_any(connection.dialect, wanted, names, lock=lock).run(connection, values)


@dataclass(frozen=True, slots=True)
class ArrayStatement:
    """A compiled statement whose parameters are arrays, for the driver."""

    sql: str
    order: Sequence[str] | None
    """The order of the parameters; None if the driver takes them by name."""

    @classmethod
    def compile(cls, statement: "Executable", dialect: Dialect) -> "ArrayStatement":
        """Compile a statement for the driver of the dialect."""
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        return cls(str(compiled), compiled.positiontup)

    def run(self, connection: Connection, arrays: Mapping[str, list[Any]]) -> CursorResult[Any]:
        """Run the statement once for all rows."""
        ordered = arrays if self.order is None else tuple(arrays[name] for name in self.order)
        return connection.exec_driver_sql(self.sql, ordered)


@cache
def _insert_unnested(
    dialect: Dialect, table: Table, names: tuple[str, ...], on_conflict: OnConflict | None
) -> ArrayStatement:
    from sqlalchemy.dialects.postgresql import insert

    new = _unnested({name: _array_type(table.c[name]) for name in names})
    values = select(*(_stored(table.c[name], new) for name in names))
    statement = insert(table).from_select(list(names), values)
    return ArrayStatement.compile(on_conflict(statement) if on_conflict else statement, dialect)


@cache
def _replace_unnested(
    dialect: Dialect, table: Table, names: tuple[str, ...], guard: str
) -> ArrayStatement:
    types = {name: _array_type(table.c[name]) for name in ("id", *names)}
    new = _unnested({**types, OLD_PREFIX + guard: table.c[guard].type})
    matches = table.c.id == new.c.id, table.c[guard] == new.c[OLD_PREFIX + guard]
    values = {name: _stored(table.c[name], new) for name in names}
    return ArrayStatement.compile(update(table).values(values).where(*matches), dialect)


def _unnested(types: Mapping[str, TypeEngine[Any]]) -> FromClause:
    arrays = (bindparam(NEW_PREFIX + name, type_=ARRAY(type_)) for name, type_ in types.items())
    columns = (column(name, type_) for name, type_ in types.items())
    return func.unnest(*arrays).table_valued(*columns, name="new").render_derived()


def _array_type(target: Column[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(target.type, JSON) else target.type


def _stored(target: Column[Any], new: FromClause) -> Any:
    sent = new.c[target.name]
    return cast(sent, JSON) if isinstance(target.type, JSON) else sent


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """A compiled query by a list of values, and the conversions of its columns."""

    statement: ArrayStatement
    names: tuple[str, ...]
    converters: tuple[tuple[str, Callable[[Any], Any]], ...]

    def run(self, connection: Connection, values: Collection[Any]) -> list[dict[str, Any]]:
        """Return the rows that have one of the values."""
        found = self.statement.run(connection, {_VALUES: [*values]})
        return read_rows(found, self.names, self.converters)


@cache
def _find_any(
    dialect: Dialect, wanted: Column[Any], names: tuple[str, ...], *, lock: bool
) -> CompiledQuery:
    any_ = func.any(bindparam(_VALUES, type_=ARRAY(wanted.type)))
    columns = [wanted.table.c[name] for name in names]
    documents = {column.name for column in columns if isinstance(column.type, JSON)}
    sent = [cast(column, Text) if column.name in documents else column for column in columns]
    query = select(*sent).where(wanted == any_)
    if lock:
        query = query.order_by(wanted).with_for_update()
    converters = tuple((name, from_json) for name in documents)
    return CompiledQuery(ArrayStatement.compile(query, dialect), names, converters)


def _arrays(table: Table, names: Sequence[str], rows: Rows) -> dict[str, list[Any]]:
    arrays = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSON):
            arrays[name] = [None if v is None else dump_json(v) for v in arrays[name]]
    return {NEW_PREFIX + name: values for name, values in arrays.items()}
