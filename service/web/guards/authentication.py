"""Who is welcome: bearer tokens, or without any, programs on this machine."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from service.web.guards.wrong_tokens import WrongTokenCounter

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_PASSED_ON = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"}
)
_READ_ONLY = "ro:"


class Authenticator:
    """Knows the tokens, and who guesses.

    Args:
        tokens: bearer tokens that are accepted; `ro:` before one makes it read-only.
        callbacks_only: whether, without tokens, nobody is welcome: a proxy or tunnel leads here
            from elsewhere, and nothing that a request says proves where it began. Otherwise all
            who reach the port are on this machine; refused are requests that a web page in a
            browser may have made (another `Host`), or that a proxy passed on all the same.
    """

    def __init__(self, tokens: Iterable[str], *, callbacks_only: bool = False) -> None:
        self._may_write = {
            _digest(token.removeprefix(_READ_ONLY).encode()): not token.startswith(_READ_ONLY)
            for token in tokens
        }
        self.callbacks_only = callbacks_only and not self._may_write
        self.guesses = WrongTokenCounter()

    @property
    def need_tokens(self) -> bool:
        """Whether there are tokens at all."""
        return bool(self._may_write)

    @property
    def suspect(self) -> frozenset[bytes]:
        """Headers of requests that must be looked at closely."""
        return frozenset() if self._may_write else _PASSED_ON

    def welcomes(self, authorization: bytes, host: bytes) -> bool:
        """Whether a request without suspect headers is certainly of somebody who may read."""
        if self._may_write:
            return self.token_of(authorization) is not None
        return is_local_name(host) and not self.callbacks_only

    def token_of(self, authorization: bytes) -> bytes | None:
        """The digest of the token that was sent, if it is one of ours.

        To look a digest up takes a time that tells nothing about the token.
        """
        token = sent_token(authorization)
        digest = _digest(token) if token else None
        return digest if digest in self._may_write else None

    def may_write(self, token: bytes) -> bool:
        """Whether a token of ours is good for more than reading."""
        return self._may_write[token]


def sent_token(authorization: bytes) -> bytes:
    """The bearer token in this header; empty if there is none."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def is_direct(names: Iterable[bytes]) -> bool:
    """Whether a request with headers of these names was passed on by no proxy or tunnel."""
    return _PASSED_ON.isdisjoint(names)


@lru_cache(maxsize=64)
def is_local_name(host: bytes) -> bool:
    """Whether a `Host` means this machine."""
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname in _LOCAL
    except ValueError:
        return False


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
