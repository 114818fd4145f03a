"""Parses untrusted JSON from Luma, or from a sender who claims to be Luma, into clean values.

The parsers of both APIs use these functions. Malformed values become None or are left out.
Values that would cause harm later (NUL, lone surrogates, NaN, our own callback URL) are removed.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from pydantic_core import to_json

from service.domain.generation import is_usable_id
from service.domain.redaction import REDACTED
from service.domain.text import clean_text
from service.errors import Unreadable

T = TypeVar("T")

_CALLBACK_URL = re.compile(r"""(callback_url\\?["']?\s*[:=]\s*\\?["']?)[^"'\s&]+""")
_DEEPEST = 128  # nesting; every surface must be able to serialize what is accepted here
_MOST_VALUES = 50_000  # in one body: a megabyte of brackets would take half a gigabyte in Python
_LONGEST_LABEL = 256  # characters; labels are indexed, PostgreSQL limits an entry to 2,704 bytes
_LONGEST_TEXT = 10_000  # characters of a prompt or a reason; Luma allows 6,000
_LONGEST_URL = 8_192
_LONGEST_KEPT_KEY = 64  # characters of a key that is kept with its clean form
_MOST_URLS = 100
_LARGEST_REQUEST = 65_536  # bytes, as JSON
_LARGEST_ASSETS = 65_536  # bytes, as JSON; a page has up to 200 rows
_LARGEST_OUTPUTS = 262_144
_LARGEST_DOCUMENT = 262_144
_UNUSUAL = (b"\\", b".any.", b".one-")
"""Escapes, and what every callback token contains. A body of ASCII without them is clean."""
_GUESSED_FROM = ("model", "generation_type", "type")
"""Request fields from which other fields are guessed. They are kept even if the rest of a large
request is dropped, because `merge` must be able to tell which values were guessed."""


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


_PLAIN = json.JSONDecoder(parse_float=_finite, parse_constant=lambda _: None)


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        Unreadable: the body is not valid JSON, is nested too deeply, has too many values, or is
            not an object.
    """
    try:
        parsed = _parse(body)
    except (ValueError, RecursionError) as error:
        reason = _brief(error)  # no `raise … from`: a JSON error references the whole body
    else:
        return _require_object(parsed)
    raise Unreadable(f"The body is not acceptable JSON: {reason}")


def parse_list(body: bytes, name: str) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
    """Parse a JSON object with a list of objects.

    Args:
        body: the JSON.
        name: the key of the list.

    Returns:
        The object without the list, and each item of the list twice: as received, and clean.

    Raises:
        Unreadable: the body is not acceptable JSON, or not such an object.
    """
    try:
        received = _require_object(_load(body))
        items = received.pop(name, None)
        if isinstance(items, list):
            return received, [(item, _clean(item, _DEEPEST)) for item in items]
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"The body is not acceptable JSON: {_brief(error)}") from None
    raise Unreadable(f"The body has no list `{name}`.")


def _require_object(parsed: Any) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise Unreadable(f"The body is a JSON {type(parsed).__name__}, not an object.")
    return parsed


def shown(body: bytes) -> Any:
    """Return a callback's body for display: without callback URLs, parsed if it is JSON."""
    try:
        return _without_callback_urls(_parse(body))
    except (ValueError, RecursionError):
        text = clean_text(body.decode("utf-8", "replace"))
        return _CALLBACK_URL.sub(rf"\1{REDACTED}", text)


def document(body: Mapping[str, Any]) -> str | None:
    """Return a parsed body as JSON; None if it is too large to store.

    A callback URL in it is the creator's own, or `[redacted]` if it is one of ours.
    """
    dumped = to_json(body, inf_nan_mode="null")
    return dumped.decode() if len(dumped) <= _LARGEST_DOCUMENT else None


def _parse(body: bytes) -> Any:
    """Parse JSON into clean values.

    Most bodies contain nothing to clean. That is seen from the bytes, and saves two thirds of the
    time (`callbacks-naive` in `make bench`).
    """
    if not _is_plain(body):
        return _clean(_load(body), _DEEPEST)
    value = _PLAIN.decode(body.decode("ascii"))
    return _with_redacted_urls(value) if REDACTED.encode() in body else value


def _is_plain(body: bytes) -> bool:
    """Whether parsing the body yields clean values, except for callback URLs of ours."""
    shallow = body.count(b"[") + body.count(b"{") < _DEEPEST and body.count(b",") < _MOST_VALUES
    return shallow and body.isascii() and not any(part in body for part in _UNUSUAL)


def _with_redacted_urls(value: Any) -> Any:
    """Redact callback URLs in which a token was redacted before."""
    if isinstance(value, dict):
        return {key: _with_redacted_url(key, member) for key, member in value.items()}
    return [_with_redacted_urls(item) for item in value] if isinstance(value, list) else value


def _with_redacted_url(key: str, value: Any) -> Any:
    is_redacted = key == "callback_url" and _is_ours(value)
    return REDACTED if is_redacted else _with_redacted_urls(value)


def _is_ours(url: Any) -> bool:
    """Whether a token was redacted in a URL, or in one of a list."""
    urls = url if isinstance(url, list) else [url]
    return any(isinstance(each, str) and REDACTED in each for each in urls)


def _load(body: bytes) -> Any:
    """Parse JSON; the values are counted before any is created."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES} values")
    return json.loads(body)


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
        {
            name: member
            for name, member in _without_callback_urls(item).items()
            if member is not None
        }
        for item in items
        if isinstance(item, dict) and url(item.get("url"))
    )
    return tuple(_fitting(found, _LARGEST_OUTPUTS))


def request(value: object) -> Mapping[str, Any] | None:
    """Return the original request.

    If it is too large, only the fields from which others are guessed are kept.
    """
    found = _without_callback_urls(mapping(value))
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


def _clean(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_clean_key(key): _clean_member(key, v, depth - 1) for key, v in value.items()}
    return value


def _clean_key(key: str) -> str:
    return _clean_short_key(key) if len(key) <= _LONGEST_KEPT_KEY else clean_text(key)


_clean_short_key = lru_cache(1024)(clean_text)  # generations have the same keys, again and again


def _clean_member(key: str, value: Any, depth: int) -> Any:
    """Clean a value, and redact a callback URL of ours, which Luma echoes with our token in it."""
    cleaned = _clean(value, depth)
    return REDACTED if key == "callback_url" and _is_ours(cleaned) else cleaned


def _without_callback_urls(value: Any) -> Any:
    """Redact every callback URL, whoever's it is."""
    if isinstance(value, dict):
        return {
            key: REDACTED if key == "callback_url" and member else _without_callback_urls(member)
            for key, member in value.items()
        }
    return [_without_callback_urls(item) for item in value] if isinstance(value, list) else value


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
