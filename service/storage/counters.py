"""Counters in SQL: what statistics are answered from, kept in the transactions of the rows.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, func, select, text

from service.domain.counting import OF_ROWS, Key, Name, change, facts
from service.storage import events
from service.storage.criteria import TOOK
from service.storage.engine import Dialect, batches
from service.storage.generations import GENERATIONS, Change
from service.storage.tables import CounterRow

COUNTERS: Table = CounterRow.__table__  # type: ignore[attr-defined]

_KEYS = [COUNTERS.c[name] for name in Key._fields]


class _Row(NamedTuple):
    """What counters depend on; `domain.counting.Countable`."""

    upstream: str
    state: str
    operation: str | None
    model: str | None
    cost_usd_estimate: float | None
    failure_reason: str | None
    failure_code: str | None
    took: float | None
    is_gone: bool


_COUNTED = [GENERATIONS.c[name] for name in _Row._fields[:-2]]


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
        for key, value in change(each.before, each.after):
            counted[key] += value
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
    # A day may have a hundred thousand rows, and callbacks wait: only what is needed is read.
    took = text(TOOK[Dialect.POSTGRES if batches.is_postgres(connection) else Dialect.SQLITE])
    rows = select(*_COUNTED, took, GENERATIONS.c.gone_at.is_not(None))
    for row in connection.execute(rows.where(GENERATIONS.c.ordered_at.between(*_bounds(day)))):
        for key, value in facts(_Row._make(row), day):
            counted[key] += value
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
