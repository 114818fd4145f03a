"""Authentication by bearer tokens or, if none are set, by being local."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from service.domain.addresses import is_loopback
from service.web.guards.sessions import Session, Sessions
from service.web.guards.wrong_tokens import WrongTokenCounter

_PROXY_HEADERS = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"}
)
_READ_ONLY = "ro:"


class Authenticator:
    """The accepted tokens, and the count of wrong ones.

    Args:
        tokens: accepted bearer tokens; the prefix `ro:` makes one read-only.
        callbacks_only: whether, without tokens, nothing but callbacks is accepted. Set it if a
            proxy or tunnel leads here, because nothing in a request proves where it began. If it
            is false, every client that reaches the port is on this machine. Then two kinds of
            requests are refused: those that a web page in a browser may have sent (`Host` is not
            local), and those that a proxy forwarded nevertheless.
        session_keys: secrets that sign the sessions of people, newest first; empty: a random one,
            so that sessions end with the process.
    """

    def __init__(
        self,
        tokens: Iterable[str],
        *,
        callbacks_only: bool = False,
        session_keys: Sequence[str] = (),
    ) -> None:
        self._may_write = {
            _digest(token.removeprefix(_READ_ONLY).encode()): not token.startswith(_READ_ONLY)
            for token in tokens
        }
        self.callbacks_only = callbacks_only and not self._may_write
        self.wrong_tokens = WrongTokenCounter()
        self._sessions = Sessions(session_keys or (secrets.token_hex(),), self._may_write)

    @property
    def need_tokens(self) -> bool:
        """Whether tokens are set."""
        return bool(self._may_write)

    @property
    def headers_to_check(self) -> frozenset[bytes]:
        """Names of the headers with which `may_read` is not enough to admit a request."""
        return frozenset() if self._may_write else _PROXY_HEADERS

    def may_read(self, authorization: bytes, host: bytes) -> bool:
        """Return whether a request may read, provided it has none of `headers_to_check`.

        Args:
            authorization: the value of `Authorization`; empty if it is missing.
            host: the value of `Host`; empty if it is missing.
        """
        if self._may_write:
            return self.digest_of(authorization) is not None
        return is_local_name(host) and not self.callbacks_only

    def digest_of(self, authorization: bytes) -> bytes | None:
        """Return the digest of the token that was sent, if it is accepted, else None.

        Digests are compared instead of tokens, so that the time reveals nothing about a token.
        """
        token = sent_token(authorization)
        return self.digest_of_token(token) if token else None

    def digest_of_token(self, token: bytes) -> bytes | None:
        """Return the digest of a token if it is accepted, else None."""
        digest = _digest(token)
        return digest if token and digest in self._may_write else None

    def cookie_for(self, digest: bytes) -> str:
        """Return the cookie of a new session with an accepted token."""
        return self._sessions.issue(digest)

    def session_of(self, cookie: str) -> Session | None:
        """Return the session of a cookie, if its token is still accepted, else None."""
        found = self._sessions.read(cookie)
        return Session(*found, self._may_write[found[0]]) if found else None

    def may_write(self, digest: bytes) -> bool:
        """Return whether an accepted token, given by its digest, may write."""
        return self._may_write[digest]


def sent_token(authorization: bytes) -> bytes:
    """Return the bearer token of an `Authorization` header; empty if there is none."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def is_direct(names: Iterable[bytes]) -> bool:
    """Return whether no header name shows that a proxy or tunnel forwarded the request."""
    return _PROXY_HEADERS.isdisjoint(names)


@lru_cache(maxsize=64)
def is_local_name(host: bytes) -> bool:
    """Return whether a `Host` header names this machine, and has nothing else in it."""
    try:
        parts = urlsplit(f"//{host.decode('latin-1')}")
        return "@" not in parts.netloc and is_loopback(parts.hostname or "")
    except ValueError:
        return False


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
