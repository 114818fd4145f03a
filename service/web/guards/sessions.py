"""Sessions of people who signed in with a token: a signed cookie that does not contain the token.

The cookie names the token by an HMAC, so it ends when the token leaves the settings. It is signed
with keys derived from the callback secrets, so it outlives restarts and holds on every instance.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from itsdangerous import BadSignature, URLSafeTimedSerializer

COOKIE = "luma_tracker_session"
LIFETIME = 30 * 86_400  # seconds
SESSION = "service.session"
"""Key in the scope of a request that was admitted by its cookie: the `Session`."""
_SALT = "luma-tracker session"
_LONGEST = 512  # characters of a cookie


class Session(NamedTuple):
    """Someone who signed in."""

    digest: bytes
    """Of the token."""
    csrf_token: str
    """What a write must carry, in the header `X-CSRF-Token` or the form field `csrf_token`."""
    may_write: bool


class Sessions:
    """Issues and reads the cookies.

    Args:
        keys: secrets, newest first; the first signs, all are accepted.
        digests: those of the accepted tokens.
    """

    def __init__(self, keys: Sequence[str], digests: Iterable[bytes]) -> None:
        self._key = keys[0].encode()
        self._serializer = URLSafeTimedSerializer(
            list(reversed(keys)), salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256}
        )
        accepted = tuple(digests)
        self._digests = {
            _name(key.encode(), digest): digest for key in reversed(keys) for digest in accepted
        }

    def issue(self, digest: bytes) -> str:
        """Return the cookie of a session with an accepted token."""
        return self._serializer.dumps(_name(self._key, digest))

    def read(self, cookie: str) -> tuple[bytes, str] | None:
        """Return the digest of the token and the CSRF token; None if the cookie is not accepted."""
        try:
            name = self._serializer.loads(cookie[:_LONGEST], max_age=LIFETIME)
        except BadSignature:
            return None
        digest = self._digests.get(name) if isinstance(name, str) else None
        return (digest, _mac(self._key, b"csrf " + cookie.encode())) if digest else None


def _name(key: bytes, digest: bytes) -> str:
    return _mac(key, b"session " + digest)


def _mac(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()
