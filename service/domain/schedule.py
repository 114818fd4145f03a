"""When the next check of a generation with its upstream is due, and which is made first.

- A settled and verified row is never checked.
- An unverified terminal row is due immediately, to verify the claim.
- An open row is first due when such a generation usually ends. Then the interval grows from 2 s to
  one minute. After an hour the generation is probably lost, and the interval grows further.
- An open row of an upstream without callbacks is due as soon as a check is worth a request. Of the
  rows that are due, those that gain most are checked first (`choose`, ADR 12).
- A row that the upstream does not know is due half a minute later, to confirm that. A gone row is
  due once a day or less often.

Only an answer lengthens the interval. A check that could not be made is retried soon.
"""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.domain.durations import ASSUMED, Durations, Estimates, age
from service.domain.generation import Generation, is_polled, is_settled

# All durations are in seconds.
_TYPICAL_DURATIONS = {"image": 10.0, "video": 40.0}  # roughly, until the generation ends
_MIN_INTERVAL = 2.0
_INTERVAL_GROWTH = 1.5
_MAX_INTERVAL = 60.0
_HOUR = 3600.0
_MAX_INTERVAL_AFTER_AN_HOUR = 6 * _HOUR
_DAY = 24 * _HOUR
_MAX_INTERVAL_WHILE_GONE = 7 * _DAY
_CONFIRM_GONE = (32.0, 60.0)  # later than `merge.GONE_AFTER`
_LEAST_GAIN = 0.03  # of a check, in seconds; a lone generation is then checked every second or so
_SHORTEST_WAIT = 1.0
_CERTAIN = 3.0  # the hazard after which a generation has ended with 95 % probability


class OpenRow(NamedTuple):
    """What decides when an open row of an upstream without callbacks is checked."""

    id: str
    upstream: str
    generation_type: str | None
    operation: str | None
    model: str | None
    request: Mapping[str, Any] | None
    created_at: datetime | None
    first_seen_at: datetime
    heard_at: datetime
    next_check_at: datetime


def next_check(
    generation: Generation, now: datetime, checks: int, estimates: Estimates = ASSUMED
) -> datetime | None:
    """Return when the next check is due; None: never.

    Args:
        generation: the row.
        now: the current time.
        checks: the number of consecutive answers that brought nothing new.
        estimates: how long generations take; used for upstreams without callbacks.
    """
    if checks and generation.gone_at:
        return now + timedelta(seconds=_jittered(_interval_while_gone(generation.gone_at, now)))
    if checks and generation.missing_since:
        return now + timedelta(seconds=random.uniform(*_CONFIRM_GONE))  # noqa: S311 - not a secret
    if generation.verified and is_settled(generation) and not generation.gone_at:
        return None
    if checks == 0 and (generation.terminal or generation.gone_at):
        return now
    if is_polled(generation.upstream) and not generation.terminal and age(generation, now) < _HOUR:
        return now + timedelta(seconds=_worthwhile_after(generation, now, estimates))
    if checks == 0:
        return now + timedelta(seconds=_jittered(_first_interval(generation, now)))
    return now + timedelta(seconds=_jittered(_interval(generation, now, checks)))


def choose(
    rows: Sequence[OpenRow], now: datetime, limit: int, per_second: float, estimates: Estimates
) -> list[OpenRow]:
    """Return the rows to check now, the most urgent first.

    A row is checked if that gains more than the price of a request. The price is the gain at which
    all rows together would use the rate exactly, so that a check which gains little leaves its
    request to one that gains more. Rows that have ended almost certainly come first, the one
    without an answer for longest at the head: any order gives the same mean delay, this one the
    shortest of the longest delays.

    Args:
        rows: the open rows of one upstream, also those that are not due.
        now: the current time.
        limit: the maximum number of rows.
        per_second: the rate of the upstream.
        estimates: how long generations take.
    """
    ages = [(row, estimates.of(row), age(row, now)) for row in rows]
    price = _price([durations.hazard(at) for _, durations, at in ages], per_second)
    ranked = list[tuple[bool, float, OpenRow]]()
    for row, durations, at in ages:
        answered = age(row, row.heard_at)
        certain = _hazard_between(durations, answered, at) >= _CERTAIN
        gain = _gain(durations, answered, at)
        if row.next_check_at <= now and (certain or gain >= price):
            ranked.append((certain, at - answered if certain else gain, row))
    ranked.sort(key=lambda each: each[:2], reverse=True)
    return [row for *_, row in ranked[:limit]]


def retry_check(row: Generation, now: datetime, seconds: float) -> datetime:
    """Return when to retry a check that could not be made, or that was not answered.

    Args:
        row: the generation.
        now: the current time.
        seconds: the minimum delay.
    """
    interval = min(_interval(row, now, max(row.checks, 1)), _MAX_INTERVAL)
    return now + timedelta(seconds=seconds + interval * random.uniform(0.1, 1.0))  # noqa: S311 - not a secret


def check_after_callback(row: Generation, now: datetime) -> datetime | None:
    """Return when the next check is due after a callback that changed nothing.

    A callback for a gone row makes it due immediately, but not within half a minute of the last
    not-found answer. Other rows keep their due time.
    """
    if row.gone_at is None or row.missing_since is None:
        return row.next_check_at
    return max(now, row.missing_since + timedelta(seconds=_CONFIRM_GONE[0]))


def _price(hazards: Sequence[float], per_second: float) -> float:
    """Return the price of a request, in seconds of delay.

    With a hazard h, a check after t seconds gains h t² / 2. At a price p, one is therefore made
    every √(2 p / h) seconds, and all together make Σ √(h / 2 p) requests per second. Half of the
    price at which that is the rate: rows whose hazard is rising are not yet worth theirs.
    """
    return (sum(map(math.sqrt, hazards)) / per_second) ** 2 / 4


def _gain(durations: Durations, answered: float, at: float) -> float:
    """Return what a check gains, in seconds of delay: the index of an optimal stopping problem.

    With a constant hazard h, checks at a price p minimize the expected delay if each is made when
    (e^H - 1 - H) / h = p, where H is the hazard since the last answer. e^H - 1 are the odds that
    the generation has ended.

    Args:
        durations: how long such generations take.
        answered: the age at which the generation was last known to be open.
        at: its age now.
    """
    hazard = min(_hazard_between(durations, answered, at), 30.0)
    return (math.expm1(hazard) - hazard) / durations.hazard(at)


def _hazard_between(durations: Durations, answered: float, at: float) -> float:
    return durations.cumulative_hazard(at) - durations.cumulative_hazard(answered)


def _worthwhile_after(generation: Generation, now: datetime, estimates: Estimates) -> float:
    """Return the seconds after an answer until the first moment at which a check is worthwhile."""
    durations, answered = estimates.of(generation), age(generation, now)
    seconds = _SHORTEST_WAIT
    while seconds < _MAX_INTERVAL:
        if _gain(durations, answered, answered + seconds) >= _LEAST_GAIN:
            return seconds
        seconds += max(0.25, seconds / 20)
    return _MAX_INTERVAL


def _interval_while_gone(gone_at: datetime, now: datetime) -> float:
    return min(max((now - gone_at).total_seconds(), _DAY), _MAX_INTERVAL_WHILE_GONE)


def _first_interval(generation: Generation, now: datetime) -> float:
    """Return the seconds until such a generation usually ends."""
    default = _TYPICAL_DURATIONS["video"]
    typical = _TYPICAL_DURATIONS.get(generation.generation_type or "video", default)
    age = (now - (generation.created_at or generation.first_seen_at)).total_seconds()
    return min(max(typical - age, _MIN_INTERVAL), typical)  # `created_at` may be wrong


def _interval(generation: Generation, now: datetime, checks: int) -> float:
    age = (now - generation.first_seen_at).total_seconds()
    if age > _HOUR:
        return min(age / 10, _MAX_INTERVAL_AFTER_AN_HOUR)
    return min(_MIN_INTERVAL * _INTERVAL_GROWTH ** min(checks - 1, 20), _MAX_INTERVAL)


def _jittered(seconds: float) -> float:
    """Vary an interval by 10 %, so that rows that were created together are not due together."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret
