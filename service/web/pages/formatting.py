"""Values for display. Whatever Luma or a prompt says is text: templates escape it."""

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from service.storage.shape import GenerationOut, as_text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_ICONS = {
    "unknown": "?",
    "queued": "○",
    "dreaming": "◔",
    "processing": "◑",
    "completed": "✓",
    "failed": "✕",
}
_MINUTE = 60
_HOUR = 3600


def plain(text: str | None, longest: int = 0) -> str:
    """Return a text without control characters, cut to `longest` characters if that is set."""
    shown = _CONTROL.sub("\ufffd", text or "")
    return shown if not longest or len(shown) <= longest else f"{shown[: longest - 1].rstrip()}…"


def web_url(url: object) -> str | None:
    """Return the URL if it is http(s), else None: no page links to anything else."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return None
    return str(url) if parts.scheme in ("http", "https") and parts.netloc else None


def icon(state: str) -> str:
    """Return the sign of a state, which is shown beside its word."""
    return _ICONS.get(state, "•")


def kind(state: str) -> str:
    """Return the class of a state's colour."""
    return state if state in _ICONS else "other"


def moment(at: datetime | None) -> str:
    """Return a time for people, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def iso(at: datetime | None) -> str:
    """Return a time for programs."""
    return as_text(at) if at else ""


def took(generation: GenerationOut) -> str:
    """Return how long a generation took; empty if that is not known."""
    begin, end = generation.created_at or generation.first_seen_at, generation.finished_at
    return duration((end - begin).total_seconds()) if end and end >= begin else ""


def duration(seconds: float) -> str:
    """Return a time span for people."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
    return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"


def dollars(cost: float | None) -> str:
    """Return a price; empty if it is not known."""
    return "" if cost is None else f"${cost:,.2f}" if cost == 0 or cost >= 0.01 else f"${cost:.4f}"


def pretty(value: Any) -> str:
    """Return a value as indented JSON; a text that is no JSON as it is."""
    return plain(value) if isinstance(value, str) else json.dumps(value, indent=2, default=str)


FILTERS = {
    each.__name__: each
    for each in (plain, web_url, icon, kind, moment, iso, took, duration, dollars, pretty)
}
