"""Remove callback tokens from text and bodies before they are shown, logged or stored.

A token is `<key id>.any.<signature>` or `<key id>.one-<nonce>.<signature>`
(`service/tracking/callback_tokens.py` creates and checks them). Luma echoes callback URLs in its
bodies, so received data can contain tokens too.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter

REDACTED = "[redacted]"
"""The replacement for a token."""
_TOKEN = re.compile(r"[0-9a-f]{8}\.(?:any|one-[\w-]+)\.[\w-]{20,}")
_SINGLE = re.compile(r"[0-9a-f]{8}\.one-([\w-]+)\.[\w-]{20,}")
_TOKEN_BYTES = re.compile(_TOKEN.pattern.encode())
_ESCAPE = re.compile(rb"(?<!\\)\\++u00([2-7][0-9a-fA-F])")  # any level of nested escaping
_ANY, _ONE = ".any.", ".one-"  # each token contains one of them
_ANY_BYTES, _ONE_BYTES = _ANY.encode(), _ONE.encode()
_ENCODING_ERRORS = "surrogatepass"  # what `json` uses


def without_tokens(text: str) -> str:
    """Replace the callback tokens in a text; messages of Luma or of users may quote their URLs."""
    if _ANY not in text and _ONE not in text:
        return text  # the usual case, ten times faster than the pattern
    return _TOKEN.sub(REDACTED, text)


def nonce_in(url: str) -> str | None:
    """Return the nonce of a single-use callback token in a URL; None if there is none."""
    found = _SINGLE.search(url)
    return found and found[1]


def body_without_tokens(body: bytes) -> bytes:
    """Replace the callback tokens in a body; all other bytes stay the same.

    Tokens are found in every encoding that JSON can be read in, and where JSON escapes write
    some of their characters. The time is linear in the length of the body, because this runs
    within a transaction.
    """
    encoding = _encoding(body)
    if encoding.startswith("utf-8"):
        return _redacted(body)
    try:
        utf8 = body.decode(encoding, _ENCODING_ERRORS).encode("utf-8", _ENCODING_ERRORS)
    except UnicodeDecodeError:
        return _redacted(body)
    redacted = _redacted(utf8)
    if redacted == utf8:
        return body
    return redacted.decode("utf-8", _ENCODING_ERRORS).encode(encoding, _ENCODING_ERRORS)


def headers_without_tokens(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Replace the callback tokens in the values of headers, as in a body."""
    return [(name, body_without_tokens(value)) for name, value in headers]


def _encoding(body: bytes) -> str:
    """Detect the encoding as `json` does, as one that treats a byte order mark as a character."""
    found = json.detect_encoding(body)
    if found in ("utf-16", "utf-32"):
        return f"{found}-le" if body.startswith(b"\xff") else f"{found}-be"
    return found


def _redacted(body: bytes) -> bytes:
    if b"u00" not in body or _ESCAPE.search(body) is None:  # the first test is quick
        if _ANY_BYTES not in body and _ONE_BYTES not in body:
            return body  # the usual case
        return _TOKEN_BYTES.sub(REDACTED.encode(), body)
    plain, sections = _unescaped(body)
    parts, last = list[bytes](), 0
    for found in _TOKEN_BYTES.finditer(plain):
        parts += body[last : _position(sections, found.start())], REDACTED.encode()
        last = _position(sections, found.end())
    return b"".join([*parts, body[last:]])


def _unescaped(body: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """Decode the escapes of a body.

    Returns:
        The decoded body, and the start of each of its sections as a pair of positions: in the
        decoded body, and in the original one.
    """
    pieces, sections, size, last = list[bytes](), [(0, 0)], 0, 0
    for escape in _ESCAPE.finditer(body):
        pieces += body[last : escape.start()], bytes([int(escape[1], 16)])
        size += escape.start() - last + 1
        last = escape.end()
        sections += (size - 1, escape.start()), (size, last)
    pieces.append(body[last:])
    return b"".join(pieces), sections


def _position(sections: list[tuple[int, int]], at: int) -> int:
    """Translate a position in the decoded body into one in the original body."""
    decoded, original = sections[bisect_right(sections, at, key=itemgetter(0)) - 1]
    return original + at - decoded
