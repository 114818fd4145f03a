"""Parses the header `Retry-After` in both of its forms (RFC 9110, 10.2.3). Pure."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SHORTEST, LONGEST = 1.0, 3600.0
"""Seconds; what is sent is brought into these limits."""


def seconds_in(value: str, now: datetime, longest: float = LONGEST) -> float | None:
    """Return the seconds to wait; None if the value is neither a number nor a date.

    Args:
        value: of the header.
        now: the current time.
        longest: the limit, in seconds.
    """
    try:
        seconds = float(value)
    except ValueError:
        seconds = _until(value, now)
    return None if math.isnan(seconds) else min(max(seconds, SHORTEST), longest)


def _until(http_date: str, now: datetime) -> float:
    try:
        at = parsedate_to_datetime(http_date)
    except (ValueError, TypeError, OverflowError):
        return math.nan
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
