"""Edits one member of a JSON object, and keeps the text of all others.

Parsing and serializing again would change the form of numbers (`1.10`, `1e400`) and drop repeated
keys.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_ENCODING_ERRORS = "surrogatepass"  # what `json` uses


class Member(NamedTuple):
    """A member of an object."""

    name: str
    value: Any
    text: str
    """The name and the value as they were written."""


def members(body: bytes) -> list[Member]:
    """Parse an object, in any encoding that `json` reads; repeated names stay.

    Raises:
        ValueError: the body is not a JSON object.
        RecursionError: it is nested too deeply.
    """
    text = body.decode(json.detect_encoding(body), _ENCODING_ERRORS)
    return list(_parsed(text))


def with_member(found: Sequence[Member], name: str, value: str | None) -> bytes:
    """Return the object as UTF-8, with this member; None: without it."""
    texts = [each.text for each in found if each.name != name]
    if value is not None:
        texts.append(f"{json.dumps(name)}:{json.dumps(value)}")
    return f"{{{','.join(texts)}}}".encode("utf-8", _ENCODING_ERRORS)


def _parsed(text: str) -> Iterator[Member]:
    at = _after(text, _skip(text, 0), "{")
    more = not text.startswith("}", at)
    if not more:
        at = _after(text, at, "}")
    while more:
        found, end = _member(text, at)
        yield found
        more = text.startswith(",", end)
        at = _after(text, end, "," if more else "}")
    if at < len(text):
        raise ValueError("there is more after the object")


def _member(text: str, at: int) -> tuple[Member, int]:
    """Return the member at a position, and the position behind it and the space that follows."""
    if not text.startswith('"', at):
        raise ValueError(f"no name at {at}")
    name, end = _DECODER.raw_decode(text, at)
    value, end = _DECODER.raw_decode(text, _after(text, _skip(text, end), ":"))
    return Member(name, value, text[at:end]), _skip(text, end)


def _after(text: str, at: int, mark: str) -> int:
    """Return the position behind a mark and the space that follows."""
    if not text.startswith(mark, at):
        raise ValueError(f"no {mark} at {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
