"""When Luma must be asked about a generation unasked; pure.

A row that is final and confirmed is never asked about. One that was only claimed to be final is
asked about at once, to confirm it. An open one is left alone until about when such a job usually
ends, then asked every 2 s, more and more rarely, down to once a minute; after an hour, when it
is most likely lost, rarer still. What Luma says it does not know is asked about once more half a
minute later, and when it is gone, once a day or less.

Only answers make the pauses longer: what could not be asked is asked soon.
"""

import random
from datetime import datetime, timedelta

from service.domain.generation import Generation, is_settled

_USUAL = {"image": 10.0, "video": 40.0}  # seconds that such a job usually takes, roughly
_FIRST_PAUSE = 2.0
_GROWTH = 1.5
_LONGEST_PAUSE = 60.0
_HOUR = 3600.0
_LONGEST_OF_ALL = 6 * _HOUR
_DAY = 24 * _HOUR
_LONGEST_WHILE_GONE = 7 * _DAY
_ONCE_MORE = (32.0, 60.0)  # seconds


def next_check(generation: Generation, now: datetime, checks: int) -> datetime | None:
    """When to ask about it, after `checks` answers in a row that brought nothing; None: never."""
    if checks and generation.gone_at:
        return now + timedelta(seconds=_jittered(_while_gone(generation.gone_at, now)))
    if checks and generation.missing_since:
        return now + timedelta(seconds=random.uniform(*_ONCE_MORE))  # noqa: S311 - no secret
    if generation.verified and is_settled(generation) and not generation.gone_at:
        return None
    if checks == 0 and (generation.terminal or generation.gone_at):
        return now
    if checks == 0:
        return now + timedelta(seconds=_jittered(_first(generation, now)))
    return now + timedelta(seconds=_jittered(_pause(generation, now, checks)))


def soon(row: Generation, now: datetime, seconds: float) -> datetime:
    """When to ask about it if it could not be asked, or was not answered.

    Args:
        seconds: after which asking makes sense.
    """
    pause = min(_pause(row, now, max(row.checks, 1)), _LONGEST_PAUSE)
    return now + timedelta(seconds=seconds + pause * random.uniform(0.1, 1.0))  # noqa: S311 - no secret


def after_news(row: Generation, now: datetime) -> datetime | None:
    """When to ask about a row that is gone and was named by a callback: at once, now and then."""
    if row.gone_at is None or row.missing_since is None:
        return row.next_check_at
    return max(now, row.missing_since + timedelta(seconds=_ONCE_MORE[0]))


def _while_gone(gone_at: datetime, now: datetime) -> float:
    return min(max((now - gone_at).total_seconds(), _DAY), _LONGEST_WHILE_GONE)


def _first(generation: Generation, now: datetime) -> float:
    """Until about when such a job usually ends."""
    usual = _USUAL.get(generation.generation_type or "video", _USUAL["video"])
    age = (now - (generation.created_at or generation.first_seen_at)).total_seconds()
    return min(max(usual - age, _FIRST_PAUSE), usual)  # whatever the time of creation says


def _pause(generation: Generation, now: datetime, checks: int) -> float:
    age = (now - generation.first_seen_at).total_seconds()
    if age > _HOUR:
        return min(age / 10, _LONGEST_OF_ALL)
    return min(_FIRST_PAUSE * _GROWTH ** min(checks - 1, 20), _LONGEST_PAUSE)


def _jittered(seconds: float) -> float:
    """So that what began together does not ask together."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
