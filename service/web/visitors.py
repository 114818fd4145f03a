"""Who is welcome: bearer tokens, or without any, programs on this machine."""

import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_PASSED_ON = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"}
)
_READ_ONLY = "ro:"
_FAILURES = RateLimitItemPerMinute(20)
_MOST_FRIENDS = 10_000


class Visitors:
    """Knows the tokens, who came with a good one, and who guesses.

    Args:
        tokens: bearer tokens that are accepted; `ro:` before one makes it read-only. None: only
            programs on this machine may ask, directly and under a local name, so that neither
            a tunnel made for Luma's callbacks nor a web page in a browser lets others in.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._may_write = {
            _digest(token.removeprefix(_READ_ONLY).encode()): not token.startswith(_READ_ONLY)
            for token in tokens
        }
        self._failures = MovingWindowRateLimiter(MemoryStorage())
        self._friends: set[tuple[str, bytes]] = set()

    @property
    def need_tokens(self) -> bool:
        """Whether there are tokens at all."""
        return bool(self._may_write)

    @property
    def suspect(self) -> frozenset[bytes]:
        """Headers of requests that must be looked at closely."""
        return frozenset() if self._may_write else _PASSED_ON

    def welcomes(self, address: str, authorization: bytes, host: bytes) -> bool:
        """Whether a request without suspect headers is certainly of somebody who may read."""
        if self._may_write:
            return (address, _digest(authorization)) in self._friends
        return is_local_name(host)

    def token_of(self, authorization: bytes) -> bytes | None:
        """The digest of the token that was sent, if it is one of ours."""
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            return None
        digest = _digest(token.strip())
        matches = [known for known in self._may_write if hmac.compare_digest(digest, known)]
        return matches[0] if matches else None

    def may_write(self, token: bytes) -> bool:
        """Whether a token of ours is good for more than reading."""
        return self._may_write[token]

    def is_guessing(self, address: str, authorization: bytes) -> bool:
        """Whether too many wrong tokens came from there, and this is no friend of ours.

        Who has come with a good token is not shut out for a neighbour's wrong ones.
        """
        if (address, _digest(authorization)) in self._friends:
            return False
        return not self._failures.test(_FAILURES, address)

    def note_failure(self, address: str) -> None:
        """A wrong token came from there."""
        self._failures.hit(_FAILURES, address)

    def befriend(self, address: str, authorization: bytes) -> None:
        """A good one came from there."""
        if len(self._friends) >= _MOST_FRIENDS:
            self._friends.clear()
        self._friends.add((address, _digest(authorization)))


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
