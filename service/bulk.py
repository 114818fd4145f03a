"""Many rows in one statement: arrays and `unnest` on PostgreSQL, `executemany` on SQLite.

Either way the SQL is the same however many rows there are, so it is built and prepared once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    FromClause,
    Select,
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
from sqlalchemy.types import TypeDecorator, TypeEngine

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
        finding = _find_any(wanted, names, lock=lock)
        return [dict(row) for row in connection.execute(finding, {_SENT: [*values]}).mappings()]
    return _find_each(wanted, names).run(connection, values)


def document(value: Any) -> str:
    """JSON as it is kept: in the words in which it is sent, so that it may go out as it stands."""
    return to_json(value, inf_nan_mode="null").decode()


def is_postgres(connection: Connection) -> bool:
    """Which of the two it is."""
    return connection.dialect.name == "postgresql"


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
        return [self._read(row) for row in found.all()]

    def _read(self, values: Sequence[Any]) -> dict[str, Any]:
        row = dict(zip(self.names, values, strict=True))
        for name, read in self.read:
            if (value := row[name]) is not None:
                row[name] = read(value)
        return row


@cache
def _find_each(wanted: Column[Any], names: tuple[str, ...]) -> Finding:
    from sqlalchemy.dialects.sqlite import dialect

    each = func.json_each(bindparam(_SENT, type_=JSON)).table_valued("value")
    columns = [wanted.table.c[name] for name in names]
    finding = select(*columns).where(wanted.in_(select(each.c.value)))
    ways = ((column.name, _there_and_back(column.type)) for column in columns)
    read = tuple((name, way[1]) for name, way in ways if way)
    return Finding(str(finding.compile(dialect=dialect())), names, read)


@cache
def _find_any(wanted: Column[Any], names: tuple[str, ...], *, lock: bool) -> Select[Any]:
    any_ = func.any(bindparam(_SENT, type_=ARRAY(wanted.type)))
    finding = select(*(wanted.table.c[name] for name in names)).where(wanted == any_)
    return finding.order_by(wanted).with_for_update() if lock else finding


def _arrays(table: Table, names: Sequence[str], rows: Rows) -> dict[str, list[Any]]:
    arrays = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSON):
            arrays[name] = [None if v is None else document(v) for v in arrays[name]]
    return {_SENT + name: values for name, values in arrays.items()}


@lru_cache  # most of a row's, and of its event's, are the same
def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(" ", "microseconds")[:26]


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
