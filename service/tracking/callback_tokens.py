"""Callback tokens: what makes a callback URL worth keeping to oneself.

    <key id>.any.<signature>        for any generation
    <key id>.one-<nonce>.<signature>   for one generation: the first that it is used for

Whoever can present one was given the URL by us, by Luma, or by somebody who leaked it; which is
why a callback is a claim and no more.
"""

import hashlib
import hmac
import json
import re
import secrets
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from itsdangerous import Signer

REDACTED = "[redacted]"
_TOKEN = re.compile(r"[0-9a-f]{8}\.(?:any|one-[\w-]+)\.[\w-]{20,}")
_TOKEN_BYTES = re.compile(_TOKEN.pattern.encode())
_ESCAPE = re.compile(rb"(?<!\\)\\++u00([2-7][0-9a-fA-F])")  # however often it was quoted
_REUSABLE = "any"
_SINGLE = "one-"
_ANY, _ONE = f".{_REUSABLE}.", f".{_SINGLE}"
_AS_JSON_DOES = "surrogatepass"
_MARKS = (_ANY.encode(), _ONE.encode())


@dataclass(frozen=True, slots=True)
class Grant:
    """What an accepted token allows; `nonce` is None for any generation."""

    nonce: str | None = None


_ANYTHING = Grant()


class CallbackTokens:
    """Makes and checks tokens.

    Args:
        secrets: newest first; the newest signs, all are accepted, so that keys can rotate.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signers = {_key_id(secret): _signer(secret) for secret in reversed(secrets)}
        self._newest = _key_id(secrets[0])
        self._reusable = {self._sign(_REUSABLE, key_id) for key_id in self._signers}

    def reusable(self) -> str:
        """A token for any generation; always the same one for the same secret."""
        return self._sign(_REUSABLE, self._newest)

    def single(self) -> str:
        """A token for the first generation that it is used for, and no other."""
        return self._sign(_SINGLE + secrets.token_urlsafe(16), self._newest)

    def grant(self, token: str) -> Grant | None:
        """What a token allows; None if we did not make it, found out in constant time."""
        if token in self._reusable:  # compared by hash first, with a key that nobody knows
            return _ANYTHING
        signer = self._signers.get(token.partition(".")[0], self._signers[self._newest])
        sent = token.encode("utf-8", "replace")
        value = sent.rpartition(b".")[0]
        if not hmac.compare_digest(signer.sign(value), sent):
            return None
        return Grant(value.decode().partition(".")[2].removeprefix(_SINGLE))

    def _sign(self, subject: str, key_id: str) -> str:
        return self._signers[key_id].sign(f"{key_id}.{subject}").decode()


def without_tokens(text: str) -> str:
    """A text as it may be shown: Luma, and people in a hurry, repeat callback URLs anywhere."""
    if _ANY not in text and _ONE not in text:
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
        has_any = any(mark in body for mark in _MARKS)  # nearly always not, and found out at once
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


def _key_id(secret: str) -> str:
    """Names a key without telling anything of it."""
    return hashlib.sha256(b"luma-tracker.key-id:" + secret.encode()).hexdigest()[:8]


def _signer(secret: str) -> Signer:
    """The key is derived once; the signer would derive it anew for each signature."""
    salt = b"luma-tracker.callback"
    derived = hmac.digest(secret.encode(), salt, hashlib.sha256)
    return Signer(derived, salt=salt, sep=".", key_derivation="none", digest_method=hashlib.sha256)
