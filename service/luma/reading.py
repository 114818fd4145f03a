"""Bytes from Luma, or from anyone who claims to be Luma, as clean values.

Both APIs' readers stand on these: what is malformed becomes None or is left out, and what
could hurt further in (NUL, lone surrogates, NaN, our own callback URL) is taken out here.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from pydantic_core import to_json

from service.domain.generation import is_usable_id
from service.domain.redaction import REDACTED
from service.domain.text import clean_text
from service.errors import Unreadable

T = TypeVar("T")

_CALLBACK_URL = re.compile(r"""(callback_url\\?["']?\s*[:=]\s*\\?["']?)[^"'\s&]+""")
_DEEPEST = 128  # what we take in, every surface must be able to write out
_MOST_VALUES = 50_000  # in one body: of a megabyte of brackets Python makes half a gigabyte
_LONGEST_LABEL = 256  # characters: indexed, and PostgreSQL's indexes take 2,704 bytes for a row
_LONGEST_TEXT = 10_000  # characters of a prompt or a reason; Luma allows 6,000
_LONGEST_URL = 8_192
_MOST_URLS = 100
_LARGEST_REQUEST = 65_536  # bytes, as JSON
_LARGEST_ASSETS = 65_536  # a page shows 200 rows
_LARGEST_OUTPUTS = 262_144
_GUESSED_FROM = ("model", "generation_type", "type")  # so `merge` must know what was guessed


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises:
        Unreadable: it is not JSON, too deep or too much to be a generation, or not an object.
    """
    try:
        parsed = _parsed(body)
    except (ValueError, RecursionError) as error:
        why = _brief(error)  # a JSON error itself keeps the whole body in memory
    else:
        return _object(parsed)
    raise Unreadable(f"The body is not JSON that we can read: {why}")


def _object(parsed: Any) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise Unreadable(f"The body is a JSON {type(parsed).__name__}, not an object.")
    return parsed


def shown(body: bytes) -> Any:
    """A callback's body as people may see it: without callback URLs, parsed if it can be."""
    try:
        return _parsed(body)
    except (ValueError, RecursionError):
        text = clean_text(body.decode("utf-8", "replace"))
        return _CALLBACK_URL.sub(rf"\1{REDACTED}", text)


def _parsed(body: bytes) -> Any:
    """Clean values; counted before any is made."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES} values")
    return _clean(json.loads(body), _DEEPEST)


def usable_id(body: Mapping[str, Any]) -> str:
    """The id in a generation's body.

    Raises:
        Unreadable: there is none, or Luma would never give one like it.
    """
    value = body.get("id")
    if not is_usable_id(value):
        raise Unreadable("The body has no usable `id`: 1-128 characters of A-Z a-z 0-9 . _ : -")
    return str(value)


def text(value: object) -> str | None:
    """A string that says something, else None."""
    return value if isinstance(value, str) and value else None


def label(value: object) -> str | None:
    """A short text that lists are filtered by, cut where it is too long for an index."""
    return _cut(text(value), _LONGEST_LABEL)


def prose(value: object) -> str | None:
    """A text that people read, cut where it is longer than Luma's own bounds."""
    return _cut(text(value), _LONGEST_TEXT)


def url(value: object) -> str | None:
    """A URL, unless it is longer than any is: a part of one would be of no use."""
    found = text(value)
    return found if found and len(found) <= _LONGEST_URL else None


def guess(value: object) -> str | None:
    """The same label, to be taken for another's; none where it would have to be cut."""
    told = label(value)
    return told if told == value else None


def urls(value: object) -> dict[str, str]:
    """The URLs of an object by their names, as many as there may be."""
    named = ((name[:_LONGEST_LABEL], url(told)) for name, told in mapping(value).items())
    return dict(_fitting(((name, told) for name, told in named if told), _LARGEST_ASSETS))


def outputs(value: object) -> tuple[Mapping[str, Any], ...]:
    """The outputs of a list that have a URL, as many as there may be."""
    items = value if isinstance(value, list) else []
    found = (
        {name: told for name, told in item.items() if told is not None}
        for item in items
        if isinstance(item, dict) and url(item.get("url"))
    )
    return tuple(_fitting(found, _LARGEST_OUTPUTS))


def request(value: object) -> Mapping[str, Any] | None:
    """What was asked for, unless it is so large that only what tells the operation is kept."""
    told = mapping(value)
    if not told or _size(told) <= _LARGEST_REQUEST:
        return told or None
    guessed_from = {name: told[name] for name in _GUESSED_FROM if guess(told.get(name))}
    return {"omitted": f"larger than {_LARGEST_REQUEST} bytes", **guessed_from}


def _fitting(items: Iterable[T], most: int) -> Iterator[T]:
    """Those for which there is room, and not too many."""
    for item in islice(items, _MOST_URLS):
        if (size := _size(item)) <= most:
            most -= size
            yield item


def _size(told: object) -> int:
    """Bytes, as JSON."""
    return len(to_json(told, inf_nan_mode="null")) + 1


def _cut(told: str | None, longest: int) -> str | None:
    return told if told is None or len(told) <= longest else f"{told[: longest - 1]}…"


def mapping(value: object) -> Mapping[str, Any]:
    """An object, else an empty one."""
    return value if isinstance(value, dict) else {}


def instant(value: object) -> datetime | None:
    """An ISO 8601 time (UTC when it names no zone) or seconds since 1970, else None."""
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
        return {clean_text(key): _clean_member(key, v, depth - 1) for key, v in value.items()}
    return value


def _clean_member(key: str, value: Any, depth: int) -> Any:
    """Luma echoes the callback URL, and with it our token: it must not get past this line."""
    return REDACTED if key == "callback_url" and value else _clean(value, depth)


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
