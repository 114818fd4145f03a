"""When a message to an endpoint is sent again."""

from datetime import datetime, timedelta

from service.domain.retry_after import seconds_in

_FIRST_WAITS = (5, 30, 120, 600, 3600)  # seconds
_LATER_WAIT = 3 * 3600
_LATER_TRIES = 8  # every 3 hours for 24 hours
MAX_TRIES = 1 + len(_FIRST_WAITS) + _LATER_TRIES
_LONGEST = 86_400.0  # seconds


def next_attempt(tries: int, now: datetime, retry_after: str | None = None) -> datetime | None:
    """Return when to try again after a failed attempt; None: never.

    Args:
        tries: the number of attempts so far, at least 1.
        now: the time of the last one.
        retry_after: the header of its answer. It replaces the wait, within a second and a day.
    """
    if tries >= MAX_TRIES:
        return None
    seconds = seconds_in(retry_after, now, _LONGEST) if retry_after else None
    if seconds is None:
        known = tries <= len(_FIRST_WAITS)
        seconds = _FIRST_WAITS[tries - 1] if known else _LATER_WAIT
    return now + timedelta(seconds=seconds)
