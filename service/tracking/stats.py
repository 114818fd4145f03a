"""Statistics of all generations, answered from counters that are kept with the writes."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from prometheus_client import Counter as Metric

from service.domain.counting import MICRO, OF_ROWS, Key, Name, quantile
from service.domain.times import parse_time
from service.errors import InvalidInput, StoreUnavailable
from service.metrics import LOOKUPS, REQUESTS
from service.storage import counters, rewrites
from service.storage.counters import Counted
from service.storage.engine import Database
from service.tracking.stats_schema import FailureCount, Percentiles, SeriesItem, StatsOut, Totals

By = Literal["day", "model", "upstream", "operation"]
_MOST_DAYS, _MOST_VALUES, _MOST_REASONS = 400, 100, 20
_INTERVAL = 5.0  # seconds; a process that is killed loses so much of what it has counted of these
_USAGE = {Name.LOOKUPS: LOOKUPS, Name.REQUESTS: REQUESTS}


class Stats:
    """Answers from the counters, and adds how much this process is used.

    Args:
        database: open, and migrated.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._recorded = {name: _total(metric) for name, metric in _USAGE.items()}

    async def run(self) -> None:
        """Record the usage until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.record_usage()

    async def close(self) -> None:
        """Record the usage a last time."""
        with suppress(StoreUnavailable):
            await self.record_usage()

    async def record_usage(self) -> None:
        """Count the lookups, and the requests to Luma, since the last time."""
        day = self._clock().date().isoformat()
        before, seen = self._recorded, {name: _total(metric) for name, metric in _USAGE.items()}
        counted = {Key(name, day): seen[name] - before[name] for name in seen}
        if not any(counted.values()):
            return
        self._recorded = seen  # at once: a write goes on when its caller is cancelled
        try:
            await self._database.write(counters.count, counted)
        except StoreUnavailable:
            self._recorded = before
            raise

    async def by_state(self) -> dict[str, int]:
        """Return how many generations are in each state, without those that are gone."""
        found = await self._database.read(counters.read, [Name.STATE], None, None)
        return _by_key(found, Name.STATE)

    async def read(self, since: str | None, by: By) -> StatsOut:
        """Return the statistics.

        Args:
            since: of generations created on this day or later: a time, a date, or a time before
                now such as `-30d`; None: of all.
            by: what the series is by.

        Raises:
            InvalidInput: `since` is no time.
            StoreUnavailable: the database did not answer.
        """
        first = self._day(since)
        found = await self._database.read(counters.read, list(Name), first, by)
        unfinished = await self._database.read(rewrites.unfinished, rewrites.STEPS)
        return StatsOut(
            totals=_totals(found),
            told_first_by=_by_key(found, Name.TOLD),
            time_to_finish=_percentiles(found),
            failures=_failures(found),
            series=self._days(found, first) if by == "day" else _values(found),
            complete="counters" not in unfinished,
        )

    async def recount(self) -> int:
        """Count all generations anew, a day at a time, and return the number of days."""
        day, days = None, 0
        while day := (await self._database.write(counters.recount_next, day, 1))[0]:
            days += 1
        return days

    def _day(self, since: str | None) -> str | None:
        if since is None:
            return None
        try:
            return parse_time(since, self._clock()).astimezone(UTC).date().isoformat()
        except ValueError as error:
            raise InvalidInput(
                "since", f"since: {error}.", "Correct it, or leave it out."
            ) from error

    def _days(self, found: list[Counted], first: str | None) -> list[SeriesItem]:
        """Return an item for each day up to today, also for those without generations."""
        groups = _groups(found)
        today = self._clock().date()
        oldest = date.fromisoformat(first or min(groups, default=today.isoformat()))
        count = min(max((today - oldest).days, 0) + 1, _MOST_DAYS)
        days = ((today - timedelta(days=n)).isoformat() for n in reversed(range(count)))
        return [_item(day, groups.get(day, [])) for day in days]


def _values(found: list[Counted]) -> list[SeriesItem]:
    """Return an item for each value, the most frequent first."""
    items = [_item(key, each) for key, each in _groups(found).items()]
    items.sort(key=lambda item: (-item.generations, item.key))
    return items[:_MOST_VALUES]


def _groups(found: Iterable[Counted]) -> dict[str, list[Counted]]:
    groups = defaultdict[str, list[Counted]](list)
    for each in found:
        if each.name in OF_ROWS and each.value:
            groups[each.group].append(each)
    return groups


def _item(key: str, found: list[Counted]) -> SeriesItem:
    states = _by_key(found, Name.STATE)
    return SeriesItem(
        key=key,
        generations=sum(states.values()),
        completed=states.get("completed", 0),
        failed=states.get("failed", 0),
        cost_usd_estimate=_cost(found),
        **_percentiles(found).model_dump(),
    )


def _totals(found: list[Counted]) -> Totals:
    states = _by_key(found, Name.STATE)
    return Totals(
        generations=sum(states.values()),
        by_state=states,
        cost_usd_estimate=_cost(found),
        lookups=sum(_by_key(found, Name.LOOKUPS).values()),
        upstream_requests=sum(_by_key(found, Name.REQUESTS).values()),
    )


def _percentiles(found: list[Counted]) -> Percentiles:
    counts = {int(bucket): count for bucket, count in _by_key(found, Name.TOOK).items()}
    return Percentiles(p50=quantile(counts, 0.5), p95=quantile(counts, 0.95))


def _failures(found: list[Counted]) -> list[FailureCount]:
    reasons = sorted(_by_key(found, Name.FAILURE).items(), key=lambda each: (-each[1], each[0]))
    return [FailureCount(reason=reason, count=count) for reason, count in reasons[:_MOST_REASONS]]


def _cost(found: list[Counted]) -> float:
    return round(sum(each.value for each in found if each.name == Name.COST) / MICRO, 4)


def _by_key(found: list[Counted], name: Name) -> dict[str, int]:
    """Return the positive sums of one counter, by key and in their order."""
    sums: Counter[str] = Counter()
    for each in found:
        if each.name == name:
            sums[each.key] += each.value
    return {key: value for key, value in sorted(sums.items()) if value > 0}


def _total(metric: Metric) -> int:
    """Return the value of a metric over all labels."""
    samples = (sample for family in metric.collect() for sample in family.samples)
    return int(sum(each.value for each in samples if each.name.endswith("_total")))
