"""Reads the fields of a parsed body. The parsers of both APIs use these functions.

Malformed values become None or are left out; what is too large is truncated or left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from pydantic_core import to_json

from service.domain.generation import is_usable_id
from service.errors import Unreadable
from service.luma.bodies import without_callback_urls

T = TypeVar("T")

_LONGEST_LABEL = 256  # characters; labels are indexed, PostgreSQL limits an entry to 2,704 bytes
_LONGEST_TEXT = 10_000  # characters of a prompt or a reason; Luma allows 6,000
_LONGEST_URL = 8_192
_MOST_URLS = 100
_LARGEST_REQUEST = 65_536  # bytes, as JSON
_LARGEST_ASSETS = 65_536  # bytes, as JSON; a page has up to 200 rows
_LARGEST_OUTPUTS = 262_144
_LARGEST_DOCUMENT = 262_144
_GUESSED_FROM = ("model", "generation_type", "type")
"""Request fields from which other fields are guessed. They are kept even if the rest of a large
request is dropped, because `merge` must be able to tell which values were guessed."""


def document(body: Mapping[str, Any]) -> str | None:
    """Return a parsed body as JSON; None if it is too large to store.

    A callback URL in it is the creator's own, or `[redacted]` if it is one of ours.
    """
    dumped = to_json(body, inf_nan_mode="null")
    return dumped.decode() if len(dumped) <= _LARGEST_DOCUMENT else None


def usable_id(body: Mapping[str, Any]) -> str:
    """Return the id in a generation's body.

    Raises:
        Unreadable: the id is missing, or is not in the format of Luma's ids.
    """
    value = body.get("id")
    if not is_usable_id(value):
        raise Unreadable("The body needs an `id` of 1-128 characters of A-Z a-z 0-9 . _ : -")
    return str(value)


def text(value: object) -> str | None:
    """Return a non-empty string, else None."""
    return value if isinstance(value, str) and value else None


def label(value: object) -> str | None:
    """Return a short text that lists can be filtered by, truncated to fit into an index."""
    return _truncated(text(value), _LONGEST_LABEL)


def prose(value: object) -> str | None:
    """Return a text for people to read, truncated well above Luma's own limit."""
    return _truncated(text(value), _LONGEST_TEXT)


def url(value: object) -> str | None:
    """Return a URL, or None if it is too long: a truncated URL would not work."""
    found = text(value)
    return found if found and len(found) <= _LONGEST_URL else None


def guess(value: object) -> str | None:
    """Return a label to use for another, missing field; None if it would have to be truncated."""
    found = label(value)
    return found if found == value else None


def urls(value: object) -> dict[str, str]:
    """Return the URLs of an object by name, up to the limits on number and size."""
    named = ((name[:_LONGEST_LABEL], url(member)) for name, member in mapping(value).items())
    return dict(_fitting(((name, found) for name, found in named if found), _LARGEST_ASSETS))


def outputs(value: object) -> tuple[Mapping[str, Any], ...]:
    """Return the outputs of a list that have a URL, up to the limits on number and size."""
    items = value if isinstance(value, list) else []
    found = (
        {name: member for name, member in without_callback_urls(item).items() if member is not None}
        for item in items
        if isinstance(item, dict) and url(item.get("url"))
    )
    return tuple(_fitting(found, _LARGEST_OUTPUTS))


def request(value: object) -> Mapping[str, Any] | None:
    """Return the original request.

    If it is too large, only the fields from which others are guessed are kept.
    """
    found = without_callback_urls(mapping(value))
    if not found or _size(found) <= _LARGEST_REQUEST:
        return found or None
    guessed_from = {name: found[name] for name in _GUESSED_FROM if guess(found.get(name))}
    return {"omitted": f"larger than {_LARGEST_REQUEST} bytes", **guessed_from}


def _fitting(items: Iterable[T], room: int) -> Iterator[T]:
    """Yield at most 100 items, leaving out those for which no room is left.

    Args:
        room: bytes for all items together, as JSON.
    """
    for item in islice(items, _MOST_URLS):
        if (size := _size(item)) <= room:
            room -= size
            yield item


def _size(value: object) -> int:
    """Return the size as JSON, in bytes."""
    return len(to_json(value, inf_nan_mode="null")) + 1


def _truncated(value: str | None, longest: int) -> str | None:
    return value if value is None or len(value) <= longest else f"{value[: longest - 1]}…"


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def instant(value: object) -> datetime | None:
    """Parse an ISO 8601 time (UTC if it has no zone) or seconds since 1970; None if invalid."""
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
