"""Many rows in one statement on SQLite: `executemany`.

SQLAlchemy compiles each statement once, but does not see the rows: that would cost more than to
write them.
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

from service.storage.engine.batches.documents import document
from service.storage.engine.batches.rows import BEFORE, SENT, OnConflict, Rows, read_rows
from service.storage.engine.sqlite_connections import instant

if TYPE_CHECKING:
    from sqlalchemy import Update
    from sqlalchemy.dialects.sqlite import Insert


def insert(connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict | None) -> int:
    """As `bulk.insert`."""
    return _insert_each(table, tuple(rows[0]), on_conflict).run(connection, rows)


def replace(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Rows, guard: str
) -> int:
    """As `bulk.replace`."""
    return _replace_each(table, names, guard).run(connection, rows)


def find(
    connection: Connection, wanted: Column[Any], values: Collection[str], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """As `bulk.find`; no other writer is let in while we write."""
    return _find_each(wanted, names).run(connection, values)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as SQLite gets it, and how it gets the values.

    SQLAlchemy has compiled it, but does not see the rows: that would cost more than to write them.
    """

    sql: str
    values: Callable[[Mapping[str, Any]], Sequence[Any]]
    sent: tuple[tuple[int, Callable[[Any], Any]], ...]
    """Which of the values SQLite gets otherwise than they are."""

    def run(self, connection: Connection, rows: Rows) -> int:
        """Run it for each of the rows; answers how many were written."""
        return connection.exec_driver_sql(self.sql, [self._sent(row) for row in rows]).rowcount

    def _sent(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        values = [*self.values(row)]
        for n, sent in self.sent:
            if (value := values[n]) is not None:
                values[n] = sent(value)
        return tuple(values)


def _prepared(statement: "Insert | Update", names: Sequence[str]) -> Prepared:
    from sqlalchemy.dialects.sqlite import dialect

    compiled = statement.compile(dialect=dialect(), column_keys=names)
    order = compiled.positiontup or []
    ways = ((n, _there_and_back(compiled.binds[name].type)) for n, name in enumerate(order))
    sent = tuple((n, way[0]) for n, way in ways if way)
    return Prepared(compiled.string, itemgetter(*order), sent)


@cache
def _insert_each(table: Table, names: tuple[str, ...], on_conflict: OnConflict | None) -> Prepared:
    from sqlalchemy.dialects.sqlite import insert

    statement = insert(table)
    return _prepared(on_conflict(statement) if on_conflict else statement, names)


@cache
def _replace_each(table: Table, names: tuple[str, ...], guard: str) -> Prepared:
    meant = table.c.id == bindparam("id"), table.c[guard] == bindparam(BEFORE + guard)
    return _prepared(update(table).where(*meant), names)


@dataclass(frozen=True, slots=True)
class Finding:
    """A query as SQLite gets it, and how its rows come back."""

    sql: str
    names: tuple[str, ...]
    read: tuple[tuple[str, Callable[[Any], Any]], ...]
    """Which of the values are other than SQLite has them."""

    def run(self, connection: Connection, values: Collection[str]) -> list[dict[str, Any]]:
        """What it finds."""
        found = connection.exec_driver_sql(self.sql, (document([*values]),))
        return read_rows(found, self.names, self.read)


@cache
def _find_each(wanted: Column[Any], names: tuple[str, ...]) -> Finding:
    from sqlalchemy.dialects.sqlite import dialect

    each = func.json_each(bindparam(SENT, type_=JSON)).table_valued("value")
    columns = [wanted.table.c[name] for name in names]
    finding = select(*columns).where(wanted.in_(select(each.c.value)))
    ways = ((column.name, _there_and_back(column.type)) for column in columns)
    read = tuple((name, way[1]) for name, way in ways if way)
    return Finding(str(finding.compile(dialect=dialect())), names, read)


_instant = lru_cache(instant)  # most of a row's, and of its event's, are the same


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


_OTHERWISE: Mapping[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    JSON: (document, from_json),
    DateTime: (_instant, _at),
    Boolean: (int, bool),
}
"""What SQLite has otherwise than we: there and back. SQLAlchemy's own ways take much longer."""


def _there_and_back(
    type_: TypeEngine[Any],
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
    plain = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    return next((ways for kind, ways in _OTHERWISE.items() if isinstance(plain, kind)), None)
