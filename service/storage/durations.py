"""How long generations took, in SQL: counts per kind and bucket."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select, update

from service.domain.durations import Counts
from service.storage.engine import batches
from service.storage.tables import DurationRow

DURATIONS: Table = DurationRow.__table__  # type: ignore[attr-defined]


def find(connection: Connection, kinds: Sequence[str]) -> Counts:
    """Return the counts of some kinds."""
    found = defaultdict[str, dict[int, int]](dict)
    for row in batches.find(connection, DURATIONS.c.kind, kinds, ("kind", "bucket", "count")):
        found[row["kind"]][row["bucket"]] = row["count"]
    return found


def add(connection: Connection, seen: Iterable[tuple[str, int]]) -> None:
    """Count durations, each a kind and a bucket."""
    counted = sorted(Counter(seen).items())  # one lock order for all instances: no deadlock
    rows = [{"kind": kind, "bucket": n, "count": count} for (kind, n), count in counted]
    batches.insert(connection, DURATIONS, rows, _add_to_count)


def halve(connection: Connection, limit: int) -> int:
    """Halve the counts of each kind that has more than `limit`, so that old ones fade.

    Returns:
        How many kinds were halved.
    """
    total = func.sum(DURATIONS.c.count)
    query = select(DURATIONS.c.kind).group_by(DURATIONS.c.kind).having(total > limit)
    large = list(connection.execute(query).scalars())
    if large:
        of_them = DURATIONS.c.kind.in_(large)
        order = select(DURATIONS.c.bucket).where(of_them).order_by(*DURATIONS.primary_key)
        connection.execute(order.with_for_update())  # the lock order of `add`
        connection.execute(update(DURATIONS).where(of_them).values(count=DURATIONS.c.count // 2))
    return len(large)


def _add_to_count(statement: Any) -> Any:
    count = DURATIONS.c.count + statement.excluded.count
    return statement.on_conflict_do_update(
        index_elements=[DURATIONS.c.kind, DURATIONS.c.bucket], set_={"count": count}
    )
