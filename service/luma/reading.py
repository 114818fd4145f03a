"""Bytes from Luma, or from anyone who claims to be Luma, as clean values.

Both APIs' readers stand on these: what is malformed becomes None or is left out, and what
could hurt further in (NUL, lone surrogates, NaN, our own callback URL) is taken out here.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from service.errors import Unreadable
from service.generation import is_usable_id
from service.tokens import REDACTED, without_tokens

_CALLBACK_URL = re.compile(r"""(callback_url\\?["']?\s*[:=]\s*\\?["']?)[^"'\s&]+""")
_DEEPEST = 128  # what we take in, every surface must be able to write out


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises:
        Unreadable: it is not JSON, too deep to be a generation, or not an object.
    """
    try:
        parsed = _clean(json.loads(body), _DEEPEST)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"The body is not JSON that we can read: {_brief(error)}") from error
    if not isinstance(parsed, dict):
        raise Unreadable(f"The body is a JSON {type(parsed).__name__}, not an object.")
    return parsed


def shown(body: bytes) -> Any:
    """A callback's body as people may see it: without callback URLs, parsed if it can be."""
    try:
        return _clean(json.loads(body), _DEEPEST)
    except (ValueError, RecursionError):
        text = clean_text(body.decode("utf-8", "replace"))
        return _CALLBACK_URL.sub(rf"\1{REDACTED}", text)


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


def clean_text(value: str) -> str:
    """Without our tokens, and without what UTF-8 (lone surrogates) or PostgreSQL (NUL) refuse."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    if "\0" in value:
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return without_tokens(value)


def _brief(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
