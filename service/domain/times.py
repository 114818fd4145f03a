"""Parses times that people write: `2026-05-30T12:00:00Z`, `2026-05-30`, `-24h`, `-7d`."""

import re
from datetime import UTC, datetime, timedelta

_RELATIVE = re.compile(r"-([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FORMS = "a time such as 2026-05-30T12:00:00Z, a date, or a time before now such as -24h or -7d"


def parse_time(text: str, now: datetime) -> datetime:
    """Return the time in UTC. One without a zone is in UTC; a date is its first moment.

    Args:
        text: an ISO 8601 time or date; or relative to `now`: `-90s`, `-5m`, `-24h`, `-7d`, `-2w`.
        now: the current time.

    Raises:
        ValueError: the text has another form, or is out of range.
    """
    try:
        if relative := _RELATIVE.fullmatch(text):
            return now - timedelta(**{_UNITS[relative[2]]: int(relative[1])})
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"`{text[:40]}` is not {FORMS}") from error
