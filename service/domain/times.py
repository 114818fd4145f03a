"""Parses times that people write: `2026-05-30T12:00:00Z`, `2026-05-30`, `-24h`, `-7d`."""

import re
from datetime import UTC, datetime, timedelta

_RELATIVE = re.compile(r"-([0-9]{1,14})([smhdw])")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?", re.DOTALL)
_SECONDS = re.compile(r"[0-9]{9,10}")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=365_000)
FORMS = "a time such as 2026-05-30T12:00:00Z, a date, or a time before now such as -24h or -7d"

Moment = datetime | timedelta
"""A time in UTC, or how long before now it is."""


def parse_moment(text: str) -> Moment:
    """Return the time. One without a zone is in UTC; a date is its first moment.

    Args:
        text: an ISO 8601 time or date; seconds since 1970, of 9 or 10 digits; or before now:
            `-90s`, `-5m`, `-24h`, `-7d`, `-2w`.

    Raises:
        ValueError: the text has another form, or is out of range.
    """
    try:
        if relative := _RELATIVE.fullmatch(text):
            return _relative(int(relative[1]), _UNITS[relative[2]])
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text), UTC)
        # Python knows more forms, which nobody would expect.
        parsed = datetime.fromisoformat(text if _ISO.fullmatch(text) else "")
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"`{text[:40]}` is not {FORMS}") from error


def _relative(count: int, unit: str) -> timedelta:
    before = timedelta(**{unit: count})
    if before > _LONGEST:
        raise ValueError(before)
    return before


def resolve(moment: Moment, now: datetime) -> datetime:
    """Return the time that a moment is."""
    return moment if isinstance(moment, datetime) else now - moment


def parse_time(text: str, now: datetime) -> datetime:
    """Return the time of a text that `parse_moment` accepts.

    Raises:
        ValueError: the text has another form, or is out of range.
    """
    return resolve(parse_moment(text), now)
