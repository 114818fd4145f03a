"""What a generation adds to the counters that statistics are answered from. Pure.

    counters = the sum of `facts(row)` over all rows

A change of a row adds `facts(after) - facts(before)`, so the counters are kept with the writes, and
a recount of the rows gives the same.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC
from enum import StrEnum
from typing import NamedTuple, Protocol

from service.domain.generation import Generation

_LONGEST = 64  # characters of a name; more come from nobody but attackers
_LONGEST_REASON = 160
_GROWTH = 1.1  # from one bucket of durations to the next: a percentile is right to 5 %
MICRO = 1_000_000


class Name(StrEnum):
    """What is counted.

    STATE: generations, by state. COST: their estimated cost, in millionths of a US dollar. TOOK:
    how many took about as long as a bucket says. FAILURE: failed ones, by reason. TOLD: ended ones,
    by the source that first reported the end. LOOKUPS and REQUESTS: lookups that were answered,
    and requests to Luma, by the day on which they were made.
    """

    STATE = "state"
    COST = "cost"
    TOOK = "took"
    FAILURE = "failure"
    TOLD = "told"
    LOOKUPS = "lookups"
    REQUESTS = "requests"


OF_ROWS = (Name.STATE, Name.COST, Name.TOOK, Name.FAILURE)
"""The counters that are sums over rows. The others count what happened, and cannot be recounted."""


class Key(NamedTuple):
    """One counter. The day is that of the creation, in UTC."""

    name: str
    day: str
    upstream: str = ""
    operation: str = ""
    model: str = ""
    key: str = ""


class Countable(Protocol):
    """The fields that counters depend on; a `Generation` has them."""

    @property
    def upstream(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def operation(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def cost_usd_estimate(self) -> float | None: ...
    @property
    def failure_reason(self) -> str | None: ...
    @property
    def failure_code(self) -> str | None: ...
    @property
    def took(self) -> float | None: ...
    @property
    def is_gone(self) -> bool: ...


def facts(row: Countable, day: str) -> Iterator[tuple[Key, int]]:
    """Yield what a row adds to the counters; one that is gone adds nothing, as in lists."""
    if row.is_gone:
        return
    place = _place(row, day)
    yield Key(Name.STATE, *place, row.state[:_LONGEST]), 1
    if row.cost_usd_estimate:
        yield Key(Name.COST, *place), round(row.cost_usd_estimate * MICRO)
    if (seconds := row.took) is not None:
        yield Key(Name.TOOK, *place, str(bucket(seconds))), 1
    if row.state == "failed":
        reason = row.failure_reason or row.failure_code or "unknown"
        yield Key(Name.FAILURE, *place, reason[:_LONGEST_REASON]), 1


def change(before: Generation | None, after: Generation) -> Iterator[tuple[Key, int]]:
    """Yield what a change of a row adds to the counters."""
    day = day_of(after)
    yield from facts(after, day)
    if before:
        yield from ((key, -value) for key, value in facts(before, day_of(before)))
    if after.terminal and not (before and before.terminal):
        yield Key(Name.TOLD, *_place(after, day), after.source.value), 1


def _place(row: Countable, day: str) -> tuple[str, str, str, str]:
    return (
        day,
        row.upstream[:_LONGEST],
        (row.operation or "")[:_LONGEST],
        (row.model or "")[:_LONGEST],
    )


def day_of(generation: Generation) -> str:
    """Return the day of its creation, in UTC: `2026-05-30`."""
    return generation.ordered_at.astimezone(UTC).date().isoformat()


def bucket(seconds: float) -> int:
    """Return the bucket that a duration belongs to; bucket 0 contains up to a tenth of a second."""
    return max(0, math.ceil(math.log(max(seconds, 0.1) / 0.1, _GROWTH)))


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the duration, in seconds, that a share of all took at most; None: there are none.

    Args:
        counts: how many durations are in each bucket.
        share: 0.5 for the median.
    """
    wanted = share * sum(count for count in counts.values() if count > 0)
    for number in sorted(counts):
        wanted -= max(counts[number], 0)
        if wanted <= 0 and counts[number] > 0:
            middle: float = 0.1 * _GROWTH ** (number - 0.5)
            return round(middle, 1)
    return None
