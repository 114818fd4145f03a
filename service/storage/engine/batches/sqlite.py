"""Statements over many rows on SQLite: `executemany`.

SQLAlchemy compiles each statement once but does not process the rows, which would cost more than
writing them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    Table,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from service.storage.engine.batches.documents import dump_json
from service.storage.engine.batches.rows import OLD_PREFIX, OnConflict, Rows, read_rows
from service.storage.engine.sqlite_connections import stored_time

if TYPE_CHECKING:
    from sqlalchemy import Update
    from sqlalchemy.dialects.sqlite import Insert


def insert(connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict | None) -> int:
    """Implement `batches.insert`."""
    return _insert_each(table, tuple(rows[0]), on_conflict).run(connection, rows)


def replace(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Rows, guard: str
) -> int:
    """Implement `batches.replace`."""
    return _replace_each(table, names, guard).run(connection, rows)


def find(
    connection: Connection, wanted: Column[Any], values: Collection[Any], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Implement `batches.find`. It needs no locks: SQLite has one writer at a time."""
    return _find_each(wanted, names).run(connection, values)


@dataclass(frozen=True, slots=True)
class CompiledWrite:
    """A compiled statement, and the conversions of its parameters."""

    sql: str
    values: Callable[[Mapping[str, Any]], Sequence[Any]]
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]
    """For the parameters that need it: their position, and the conversion to SQLite's form."""

    def run(self, connection: Connection, rows: Rows) -> int:
        """Run the statement for each row, and return how many were written."""
        return connection.exec_driver_sql(
            self.sql, [self._parameters(row) for row in rows]
        ).rowcount

    def _parameters(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        values = [*self.values(row)]
        for n, convert in self.converters:
            if (value := values[n]) is not None:
                values[n] = convert(value)
        return tuple(values)


def _compile_write(statement: "Insert | Update", names: Sequence[str]) -> CompiledWrite:
    from sqlalchemy.dialects.sqlite import dialect

    compiled = statement.compile(dialect=dialect(), column_keys=names)
    order = compiled.positiontup or []
    found = ((n, _converters(compiled.binds[name].type)) for n, name in enumerate(order))
    converters = tuple((n, pair[0]) for n, pair in found if pair)
    return CompiledWrite(compiled.string, itemgetter(*order), converters)


@cache
def _insert_each(
    table: Table, names: tuple[str, ...], on_conflict: OnConflict | None
) -> CompiledWrite:
    from sqlalchemy.dialects.sqlite import insert

    statement = insert(table)
    return _compile_write(on_conflict(statement) if on_conflict else statement, names)


@cache
def _replace_each(table: Table, names: tuple[str, ...], guard: str) -> CompiledWrite:
    matches = table.c.id == bindparam("id"), table.c[guard] == bindparam(OLD_PREFIX + guard)
    return _compile_write(update(table).where(*matches), names)


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """A compiled query by a list of values, and the conversions of its columns."""

    sql: str
    names: tuple[str, ...]
    converters: tuple[tuple[str, Callable[[Any], Any]], ...]
    """For the columns that need it: their name, and the conversion from SQLite's form."""

    def run(self, connection: Connection, values: Collection[Any]) -> list[dict[str, Any]]:
        """Return the rows that have one of the values."""
        found = connection.exec_driver_sql(self.sql, (dump_json([*values]),))
        return read_rows(found, self.names, self.converters)


@cache
def _find_each(wanted: Column[Any], names: tuple[str, ...]) -> CompiledQuery:
    from sqlalchemy.dialects.sqlite import dialect

    each = func.json_each(bindparam("wanted_values", type_=JSON)).table_valued("value")
    columns = [wanted.table.c[name] for name in names]
    query = select(*columns).where(wanted.in_(select(each.c.value)))
    found = ((column.name, _converters(column.type)) for column in columns)
    converters = tuple((name, pair[1]) for name, pair in found if pair)
    return CompiledQuery(str(query.compile(dialect=dialect())), names, converters)


_to_text = lru_cache(stored_time)  # most times in a row and its event are the same


def _from_text(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


_CONVERTERS: Mapping[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    JSON: (dump_json, from_json),
    DateTime: (_to_text, _from_text),
    Boolean: (int, bool),
}
"""The types that SQLite stores in another form, and the conversions to and from it.

SQLAlchemy's own conversions take much longer.
"""


def _converters(
    type_: TypeEngine[Any],
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
    plain = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    return next((pair for kind, pair in _CONVERTERS.items() if isinstance(plain, kind)), None)
