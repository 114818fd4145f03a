"""Many rows in one statement on PostgreSQL: arrays and `unnest`.

SQLAlchemy compiles each statement once; the driver gets the arrays as they are.
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

from service.storage.engine.batches.documents import document
from service.storage.engine.batches.rows import BEFORE, SENT, OnConflict, Rows, read_rows

if TYPE_CHECKING:
    from sqlalchemy import Executable


def insert(connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict | None) -> int:
    """As `bulk.insert`."""
    names = tuple(rows[0])
    statement = _insert_unnested(connection.dialect, table, names, on_conflict)
    return statement.run(connection, _arrays(table, names, rows)).rowcount


def replace(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Rows, guard: str
) -> int:
    """As `bulk.replace`."""
    values = _arrays(table, ("id", *names), rows)
    values[SENT + BEFORE + guard] = [row[BEFORE + guard] for row in rows]
    return (
        _replace_unnested(connection.dialect, table, names, guard).run(connection, values).rowcount
    )


def find(
    connection: Connection,
    wanted: Column[Any],
    values: Collection[str],
    names: tuple[str, ...],
    *,
    lock: bool,
) -> list[dict[str, Any]]:
    """As `bulk.find`."""
    return _find_any(connection.dialect, wanted, names, lock=lock).run(connection, values)


@dataclass(frozen=True, slots=True)
class Unnested:
    """A statement as PostgreSQL's driver gets it, whose values are arrays."""

    sql: str
    order: Sequence[str] | None
    """Of the values; None where the driver takes them by name."""

    @classmethod
    def of(cls, statement: "Executable", dialect: Dialect) -> "Unnested":
        """Compiled once for that driver."""
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        return cls(str(compiled), compiled.positiontup)

    def run(self, connection: Connection, arrays: Mapping[str, list[Any]]) -> CursorResult[Any]:
        """Run it once for all rows."""
        ordered = arrays if self.order is None else tuple(arrays[name] for name in self.order)
        return connection.exec_driver_sql(self.sql, ordered)


@cache
def _insert_unnested(
    dialect: Dialect, table: Table, names: tuple[str, ...], on_conflict: OnConflict | None
) -> Unnested:
    from sqlalchemy.dialects.postgresql import insert

    new = _unnested({name: _sent_as(table.c[name]) for name in names})
    values = select(*(_as_kept(table.c[name], new) for name in names))
    statement = insert(table).from_select(list(names), values)
    return Unnested.of(on_conflict(statement) if on_conflict else statement, dialect)


@cache
def _replace_unnested(
    dialect: Dialect, table: Table, names: tuple[str, ...], guard: str
) -> Unnested:
    types = {name: _sent_as(table.c[name]) for name in ("id", *names)}
    new = _unnested({**types, BEFORE + guard: table.c[guard].type})
    meant = table.c.id == new.c.id, table.c[guard] == new.c[BEFORE + guard]
    values = {name: _as_kept(table.c[name], new) for name in names}
    return Unnested.of(update(table).values(values).where(*meant), dialect)


def _unnested(types: Mapping[str, TypeEngine[Any]]) -> FromClause:
    arrays = (bindparam(SENT + name, type_=ARRAY(type_)) for name, type_ in types.items())
    columns = (column(name, type_) for name, type_ in types.items())
    return func.unnest(*arrays).table_valued(*columns, name="new").render_derived()


def _sent_as(kept: Column[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(kept.type, JSON) else kept.type


def _as_kept(kept: Column[Any], new: FromClause) -> Any:
    sent = new.c[kept.name]
    return cast(sent, JSON) if isinstance(kept.type, JSON) else sent


@dataclass(frozen=True, slots=True)
class FindingAny:
    """The same for PostgreSQL."""

    statement: Unnested
    names: tuple[str, ...]
    documents: tuple[tuple[str, Callable[[Any], Any]], ...]

    def run(self, connection: Connection, values: Collection[str]) -> list[dict[str, Any]]:
        """What it finds."""
        found = self.statement.run(connection, {SENT: [*values]})
        return read_rows(found, self.names, self.documents)


@cache
def _find_any(
    dialect: Dialect, wanted: Column[Any], names: tuple[str, ...], *, lock: bool
) -> FindingAny:
    any_ = func.any(bindparam(SENT, type_=ARRAY(wanted.type)))
    columns = [wanted.table.c[name] for name in names]
    documents = {column.name for column in columns if isinstance(column.type, JSON)}
    sent = [cast(column, Text) if column.name in documents else column for column in columns]
    finding = select(*sent).where(wanted == any_)
    if lock:
        finding = finding.order_by(wanted).with_for_update()
    read = tuple((name, from_json) for name in documents)
    return FindingAny(Unnested.of(finding, dialect), names, read)


def _arrays(table: Table, names: Sequence[str], rows: Rows) -> dict[str, list[Any]]:
    arrays = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSON):
            arrays[name] = [None if v is None else document(v) for v in arrays[name]]
    return {SENT + name: values for name, values in arrays.items()}
