"""Takes callback tokens out of what is shown, logged or kept.

A token is `<key id>.any.<signature>` or `<key id>.one-<nonce>.<signature>`
(`service/tracking/callback_tokens.py` makes and checks them). Luma echoes callback URLs in its
bodies, so tokens arrive from outside as well.
"""

import json
import re
from bisect import bisect_right
from operator import itemgetter

REDACTED = "[redacted]"
"""What stands in a token's place."""
_TOKEN = re.compile(r"[0-9a-f]{8}\.(?:any|one-[\w-]+)\.[\w-]{20,}")
_TOKEN_BYTES = re.compile(_TOKEN.pattern.encode())
_ESCAPE = re.compile(rb"(?<!\\)\\++u00([2-7][0-9a-fA-F])")  # however often it was quoted
_MARKS = (".any.", ".one-")
_MARKS_BYTES = tuple(mark.encode() for mark in _MARKS)
_AS_JSON_DOES = "surrogatepass"


def without_tokens(text: str) -> str:
    """A text as it may be shown: Luma, and people in a hurry, repeat callback URLs anywhere."""
    if not any(mark in text for mark in _MARKS):
        return text  # nearly always, and found out in a tenth of the time
    return _TOKEN.sub(REDACTED, text)


def body_without_tokens(body: bytes) -> bytes:
    """A body as it is kept: byte for byte, but for our tokens, in whatever encoding JSON is read.

    JSON may write any character of a token as an escape. The time that this takes grows with the
    length of the body and with nothing else: it is spent within a transaction.
    """
    encoding = _encoding(body)
    if encoding.startswith("utf-8"):
        return _redacted(body)
    try:
        told = body.decode(encoding, _AS_JSON_DOES).encode("utf-8", _AS_JSON_DOES)
    except UnicodeDecodeError:
        return _redacted(body)
    kept = _redacted(told)
    if kept == told:
        return body
    return kept.decode("utf-8", _AS_JSON_DOES).encode(encoding, _AS_JSON_DOES)


def _encoding(body: bytes) -> str:
    """As `json` finds it out; a byte order mark is then a character like any other."""
    found = json.detect_encoding(body)
    if found in ("utf-16", "utf-32"):
        return f"{found}-le" if body.startswith(b"\xff") else f"{found}-be"
    return found


def _redacted(body: bytes) -> bytes:
    if _ESCAPE.search(body) is None:
        has_any = any(
            mark in body for mark in _MARKS_BYTES
        )  # nearly always not, and found out at once
        return _TOKEN_BYTES.sub(REDACTED.encode(), body) if has_any else body
    plain, stretches = _unescaped(body)
    parts, last = list[bytes](), 0
    for found in _TOKEN_BYTES.finditer(plain):
        parts += body[last : _place(stretches, found.start())], REDACTED.encode()
        last = _place(stretches, found.end())
    return b"".join([*parts, body[last:]])


def _unescaped(body: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """The body without escapes, and where each stretch of it begins: in it, and in the body."""
    pieces, stretches, size, last = list[bytes](), [(0, 0)], 0, 0
    for escape in _ESCAPE.finditer(body):
        pieces += body[last : escape.start()], bytes([int(escape[1], 16)])
        size += escape.start() - last + 1
        last = escape.end()
        stretches += (size - 1, escape.start()), (size, last)
    pieces.append(body[last:])
    return b"".join(pieces), stretches


def _place(stretches: list[tuple[int, int]], at: int) -> int:
    """Where in the body something of the unescaped body is."""
    begin, there = stretches[bisect_right(stretches, at, key=itemgetter(0)) - 1]
    return there + at - begin
