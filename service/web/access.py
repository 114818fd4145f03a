"""Who may ask: bearer tokens, and pages of other sites kept out.

Pure ASGI, in front of everything. Luma's callbacks carry their own token and come from
anywhere, so nothing here concerns them.
"""

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.problems import problem

_OPEN = ("/healthz", "/readyz")
_READS = ("GET", "HEAD", "OPTIONS")
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class Access:
    """Lets through who may ask, and answers 401, 403 or 421 to the others.

    Args:
        tokens: bearer tokens that are accepted; none: everyone who reaches us may ask, and
            then only under a local name, so that no web page can have a browser ask for it.
        origins: origins whose pages may call us.
        names: further host names of ours.
    """

    def __init__(
        self, app: ASGIApp, *, tokens: Iterable[str], origins: Iterable[str], names: Iterable[str]
    ) -> None:
        self._app = app
        self._digests = [_digest(token) for token in tokens]
        self._origins = frozenset(origins)
        self._names = _LOCAL | frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if path.startswith("/callbacks/"):
            return None
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._digests and _name(f"//{host}") not in self._names:
            return problem(421, f"This is not {host or 'a host without a name'}.")
        if self._is_foreign(headers.get("origin"), host) and self._minds(scope):
            return problem(
                403, "Pages of this origin may not do that.", hint="TRACKER_CORS_ORIGINS"
            )
        preflight = scope["method"] == "OPTIONS"
        if path in _OPEN or preflight or not self._digests or self._knows(headers):
            return None
        return problem(
            401,
            "A valid bearer token is wanted.",
            hint="Send `Authorization: Bearer` with one of TRACKER_API_TOKENS.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _minds(self, scope: Scope) -> bool:
        return scope["method"] not in _READS or scope["path"] == "/mcp"

    def _is_foreign(self, origin: str | None, host: str) -> bool:
        return bool(origin) and origin not in self._origins and urlsplit(origin).netloc != host

    def _knows(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        digest = _digest(token.strip())
        return any(hmac.compare_digest(digest, known) for known in self._digests)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _name(authority: str) -> str | None:
    try:
        return urlsplit(authority).hostname
    except ValueError:
        return None
