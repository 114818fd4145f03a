"""What a generation adds to the counters that statistics are answered from. Pure.

    counters = the sum of `facts(row)` over all rows

A change of a row adds `facts(after) - facts(before)`, so the counters are kept with the writes, and
a recount of the rows gives the same.
"""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from enum import StrEnum
from typing import NamedTuple

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


def facts(generation: Generation | None) -> Counter[Key]:
    """Return what a row adds to the counters; one that is gone adds nothing, as in lists."""
    if generation is None or generation.is_gone:
        return Counter()
    place = _place(generation)
    found = Counter({Key(Name.STATE, *place, generation.state[:_LONGEST]): 1})
    if generation.cost_usd_estimate:
        found[Key(Name.COST, *place)] = round(generation.cost_usd_estimate * MICRO)
    if (seconds := generation.took) is not None:
        found[Key(Name.TOOK, *place, str(bucket(seconds)))] = 1
    if generation.state == "failed":
        reason = generation.failure_reason or generation.failure_code or "unknown"
        found[Key(Name.FAILURE, *place, reason[:_LONGEST_REASON])] = 1
    return found


def change(before: Generation | None, after: Generation) -> Counter[Key]:
    """Return what a change of a row adds to the counters."""
    found = facts(after)
    found.subtract(facts(before))
    if after.terminal and not (before and before.terminal):
        found[Key(Name.TOLD, *_place(after), after.source.value)] += 1
    return found


def _place(generation: Generation) -> tuple[str, str, str, str]:
    return (
        day_of(generation),
        generation.upstream[:_LONGEST],
        (generation.operation or "")[:_LONGEST],
        (generation.model or "")[:_LONGEST],
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
