"""When a message to an endpoint is sent again."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_FIRST_WAITS = (5, 30, 120, 600, 3600)  # seconds
_LATER_WAIT = 3 * 3600
_LATER_TRIES = 8  # every 3 hours for 24 hours
MAX_TRIES = 1 + len(_FIRST_WAITS) + _LATER_TRIES
_LONGEST = timedelta(days=1)
_SHORTEST = timedelta(seconds=1)


def next_attempt(tries: int, now: datetime, retry_after: str | None = None) -> datetime | None:
    """Return when to try again after a failed attempt; None: never.

    Args:
        tries: the number of attempts so far, at least 1.
        now: the time of the last one.
        retry_after: the header of its answer. It replaces the wait, within a second and a day.
    """
    if tries >= MAX_TRIES:
        return None
    asked = retry_after and _asked_wait(retry_after.strip(), now)
    if asked:
        return now + min(max(asked, _SHORTEST), _LONGEST)
    known = tries <= len(_FIRST_WAITS)
    return now + timedelta(seconds=_FIRST_WAITS[tries - 1] if known else _LATER_WAIT)


def _asked_wait(header: str, now: datetime) -> timedelta | None:
    """Parse `Retry-After`, seconds or a date; None if it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        return _wait_until(header, now)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return timedelta(seconds=max(_SHORTEST.total_seconds(), min(seconds, _LONGEST.total_seconds())))


def _wait_until(header: str, now: datetime) -> timedelta | None:
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((date if date.tzinfo else date.replace(tzinfo=UTC)) - now, _SHORTEST)
