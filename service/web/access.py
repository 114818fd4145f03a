"""Who may ask: bearer tokens, and pages of other sites kept out.

Pure ASGI, in front of everything. Luma's callbacks carry their own token and come from
anywhere, so nothing here concerns them.
"""

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.metrics import REFUSALS
from service.web.problems import problem

_OPEN = ("/healthz", "/readyz")
_READS = ("GET", "HEAD", "OPTIONS")
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_READ_ONLY = "ro:"
_FAILURES = RateLimitItemPerMinute(20)
_MOST_FRIENDS = 10_000


class Access:
    """Lets through who may ask, and answers 401, 403, 421 or 429 to the others.

    Args:
        tokens: bearer tokens that are accepted; `ro:` before one makes it read-only. None: only
            programs on this machine may ask, directly and under a local name, so that neither
            a tunnel made for Luma's callbacks nor a web page in a browser lets others in.
        origins: origins whose pages may call us.
    """

    def __init__(self, app: ASGIApp, *, tokens: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._may_write = {
            _digest(token.removeprefix(_READ_ONLY)): not token.startswith(_READ_ONLY)
            for token in tokens
        }
        self._origins = frozenset(origins)
        self._failures = MovingWindowRateLimiter(MemoryStorage())
        self._friends: set[tuple[str, bytes]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            REFUSALS.labels(str(refusal.status_code)).inc()
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if path.startswith("/callbacks/"):
            return None
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._may_write and path not in _OPEN and not _is_local(headers):
            return problem(
                421,
                "Without tokens, only programs on this machine may ask, and by a local name.",
                hint="Set TRACKER_API_TOKENS, and send one of them.",
            )
        if self._is_foreign(headers.get("origin"), host) and self._changes(scope, mcp=True):
            return problem(
                403, "Pages of this origin may not do that.", hint="TRACKER_CORS_ORIGINS"
            )
        if path in _OPEN or scope["method"] == "OPTIONS" or not self._may_write:
            return None
        return self._unauthorized(scope, headers)

    def _unauthorized(self, scope: Scope, headers: Headers) -> Response | None:
        address = (scope.get("client") or ("",))[0]
        digest = self._known(headers)
        if not self._failures.test(_FAILURES, address) and (address, digest) not in self._friends:
            return problem(
                429,
                "Too many wrong tokens came from this address.",
                hint="Come again in a minute.",
                headers={"Retry-After": "60"},
            )
        if digest is None:
            self._failures.hit(_FAILURES, address)
            return problem(
                401,
                "A valid bearer token is wanted.",
                hint="Send `Authorization: Bearer` with one of TRACKER_API_TOKENS.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        self._befriend(address, digest)
        if self._changes(scope, mcp=False) and not self._may_write[digest]:
            return problem(403, "This token may only read.", hint="Use one without `ro:`.")
        return None

    def _befriend(self, address: str, digest: bytes) -> None:
        """Who has come with a good token is not shut out for a neighbour's wrong ones."""
        if len(self._friends) >= _MOST_FRIENDS:
            self._friends.clear()
        self._friends.add((address, digest))

    def _changes(self, scope: Scope, *, mcp: bool) -> bool:
        """Whether the request may change something; of MCP the caller knows, by its tools."""
        if scope["path"] == "/mcp":
            return mcp
        return scope["method"] not in _READS

    def _is_foreign(self, origin: str | None, host: str) -> bool:
        return bool(origin) and origin not in self._origins and _netloc(origin) != host

    def _known(self, headers: Headers) -> bytes | None:
        """The digest of the token that was sent, if it is one of ours."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = _digest(token.strip())
        if not token.strip():
            return None
        matches = [known for known in self._may_write if hmac.compare_digest(digest, known)]
        return matches[0] if matches else None


def _netloc(origin: str | None) -> str | None:
    try:
        return urlsplit(origin or "").netloc
    except ValueError:
        return None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _is_local(headers: Headers) -> bool:
    """Whether a request was made to a local name, and not passed on by a proxy or tunnel."""
    if any(name in headers for name in _PASSED_ON):
        return False
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname in _LOCAL
    except ValueError:
        return False
