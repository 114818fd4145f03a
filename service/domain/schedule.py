"""When the next check of a generation with its upstream is due.

- A settled and verified row is never checked.
- An unverified terminal row is due immediately, to verify the claim.
- An open row is first due when such a generation usually ends. Then the interval grows from 2 s to
  one minute. After an hour the generation is probably lost, and the interval grows further.
- A row that the upstream does not know is due half a minute later, to confirm that. A gone row is
  due once a day or less often.

Only an answer lengthens the interval. A check that could not be made is retried soon.
"""

import random
from datetime import datetime, timedelta

from service.domain.generation import Generation, is_settled

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


def next_check(generation: Generation, now: datetime, checks: int) -> datetime | None:
    """Return when the next check is due; None: never.

    Args:
        generation: the row.
        now: the current time.
        checks: the number of consecutive answers that brought nothing new.
    """
    if checks and generation.gone_at:
        return now + timedelta(seconds=_jittered(_interval_while_gone(generation.gone_at, now)))
    if checks and generation.missing_since:
        return now + timedelta(seconds=random.uniform(*_CONFIRM_GONE))  # noqa: S311 - not a secret
    if generation.verified and is_settled(generation) and not generation.gone_at:
        return None
    if checks == 0 and (generation.terminal or generation.gone_at):
        return now
    if checks == 0:
        return now + timedelta(seconds=_jittered(_first_interval(generation, now)))
    return now + timedelta(seconds=_jittered(_interval(generation, now, checks)))


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
