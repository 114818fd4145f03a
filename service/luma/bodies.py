"""Parses untrusted JSON bodies from Luma, or from a sender who claims to be Luma.

What would cause harm later (NUL, lone surrogates, NaN, our own callback URLs) is removed.
"""

import json
import math
import re
from functools import lru_cache
from typing import Any

from service.domain.redaction import REDACTED
from service.domain.text import clean_text
from service.errors import Unreadable

_CALLBACK_URL = re.compile(r"""(callback_url\\?["']?\s*[:=]\s*\\?["']?)[^"'\s&]+""")
_STRING = re.compile(r'"[^"]*"?')  # without escapes; one that does not end goes to the end
_DEEPEST = 128  # nesting; every surface must be able to serialize what is accepted here
_MOST_VALUES = 50_000  # in one body: a megabyte of brackets would take half a gigabyte in Python
_LONGEST_KEPT_KEY = 64  # characters of a key that is kept with its clean form
_UNUSUAL = (b"\\", b".any.", b".one-")
"""Escapes, and what every callback token contains. A body of ASCII without them is clean."""


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def _integer(number: str) -> int | None:
    """Return None for more digits than Python converts (4,300)."""
    try:
        return int(number)
    except ValueError:
        return None


_PLAIN = json.JSONDecoder(parse_float=_finite, parse_int=_integer, parse_constant=lambda _: None)


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
        return without_callback_urls(_parse(body))
    except (ValueError, RecursionError):
        text = clean_text(body.decode("utf-8", "replace"))
        return _CALLBACK_URL.sub(rf"\1{REDACTED}", text)


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
    is_redacted = key == "callback_url" and _has_redacted_token(value)
    return REDACTED if is_redacted else _with_redacted_urls(value)


def _has_redacted_token(url: Any) -> bool:
    """Whether a token was redacted in a URL, or in one of a list."""
    urls = url if isinstance(url, list) else [url]
    return any(isinstance(each, str) and REDACTED in each for each in urls)


def _load(body: bytes) -> Any:
    """Parse JSON; the values are counted before any is created."""
    if _count(body) > _MOST_VALUES and _count(_without_strings(body)) > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES} values")
    return json.loads(body, parse_int=_integer)


def _count(body: bytes) -> int:
    """Return the number of values or more: each begins after one of these, or is the only one."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _without_strings(body: bytes) -> bytes:
    """Return JSON without its strings, in linear time whatever it is.

    Decoded as `json.loads` does, since bytes of UTF-16 can look like quotation marks.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    unescaped = text.replace(r"\\", "").replace(r"\"", "")
    return _STRING.sub("", unescaped).encode("utf-8", "surrogatepass")


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
    return REDACTED if key == "callback_url" and _has_redacted_token(cleaned) else cleaned


def without_callback_urls(value: Any) -> Any:
    """Redact every callback URL, whoever's it is."""
    if isinstance(value, dict):
        return {
            key: REDACTED if key == "callback_url" and member else without_callback_urls(member)
            for key, member in value.items()
        }
    return [without_callback_urls(item) for item in value] if isinstance(value, list) else value


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
