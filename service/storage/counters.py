"""Counters in SQL: what statistics are answered from, kept in the transactions of the rows.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, func, select

from service.domain.counting import OF_ROWS, Key, Name, change, facts
from service.storage import events
from service.storage.engine import batches
from service.storage.generations import COLUMNS, GENERATIONS, Change, as_generation
from service.storage.tables import CounterRow

COUNTERS: Table = CounterRow.__table__  # type: ignore[attr-defined]

_NOT_COUNTED: dict[str, Any] = {"assets": {}, "outputs": (), "request": None, "document": None}
"""Documents, which may be large, and which no counter depends on."""
_COUNTED = [column for column in COLUMNS if column.name not in _NOT_COUNTED]
_KEYS = [COUNTERS.c[name] for name in Key._fields]


class Counted(NamedTuple):
    """The sum of some counters."""

    name: str
    group: str
    key: str
    value: int


def add(connection: Connection, changes: Sequence[Change]) -> None:
    """Count changes of rows, in their transaction, after their events were added."""
    counted: Counter[Key] = Counter()
    for each in changes:
        counted.update(change(each.before, each.after))
    count(connection, counted)


def count(connection: Connection, counted: Mapping[Key, int]) -> None:
    """Add to counters."""
    rows = [
        {**key._asdict(), "value": value}
        for key, value in sorted(counted.items())  # one lock order for all instances: no deadlock
        if value
    ]
    batches.insert(connection, COUNTERS, rows, _add)


def recount(connection: Connection, day: str) -> None:
    """Count the generations of a day anew."""
    events.lock(connection)  # nobody counts meanwhile
    of_day = COUNTERS.c.day == day, COUNTERS.c.name.in_(OF_ROWS)
    connection.execute(delete(COUNTERS).where(*of_day))
    counted: Counter[Key] = Counter()
    for row in connection.execute(
        select(*_COUNTED).where(GENERATIONS.c.ordered_at.between(*_bounds(day)))
    ).mappings():
        counted.update(facts(as_generation({**_NOT_COUNTED, **row})))
    count(connection, counted)


def recount_next(connection: Connection, after: str | None, _limit: int) -> tuple[str | None, int]:
    """Recount the first day after another; a `Step` of `storage.rewrites`."""
    day = next_day(connection, after)
    if day:
        recount(connection, day)
    return day, int(day is not None)


def next_day(connection: Connection, after: str | None) -> str | None:
    """Return the first day after another on which generations were created; None: there is none."""
    first = select(func.min(GENERATIONS.c.ordered_at))
    if after is not None:
        first = first.where(GENERATIONS.c.ordered_at > _bounds(after)[1])
    found = connection.execute(first).scalar()
    return found.astimezone(UTC).date().isoformat() if found else None


def read(
    connection: Connection, names: Sequence[Name], since: str | None, by: str | None
) -> list[Counted]:
    """Return the sums of counters.

    Args:
        connection: of the current transaction.
        names: of which counters.
        since: from this day on; None: of all days.
        by: the column to group by: `day`, `upstream`, `operation` or `model`; None: no groups.
    """
    groups = [COUNTERS.c[by]] if by else []
    columns = COUNTERS.c.name, COUNTERS.c.key, *groups
    sums = (
        select(*columns, func.sum(COUNTERS.c.value).label("total"))
        .where(COUNTERS.c.name.in_(names), COUNTERS.c.day >= (since or ""))
        .group_by(*columns)
    )
    return [
        Counted(row.name, getattr(row, by) if by else "", row.key, int(row.total))
        for row in connection.execute(sums)
    ]


def by_state(connection: Connection) -> dict[str, int]:
    """Count the generations in each state by looking at every one, for a check of the counters."""
    states = select(GENERATIONS.c.state, func.count().label("number")).where(
        GENERATIONS.c.gone_at.is_(None)
    )
    found = connection.execute(states.group_by(GENERATIONS.c.state))
    return {row.state: row.number for row in found}


def _bounds(day: str) -> tuple[datetime, datetime]:
    """Return the first and the last moment of a day."""
    on = date.fromisoformat(day)
    return datetime.combine(on, time.min, UTC), datetime.combine(on, time.max, UTC)


def _add(statement: Any) -> Any:
    value = COUNTERS.c.value + statement.excluded.value
    return statement.on_conflict_do_update(index_elements=_KEYS, set_={"value": value})
