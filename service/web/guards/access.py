"""Authentication and origin checks: bearer tokens, and pages of other sites are refused.

Pure ASGI middleware. Luma's callbacks carry their own token and may come from anywhere, so no check
applies to them.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.metrics import REFUSALS
from service.web.guards.authentication import Authenticator, is_direct, is_local_name, sent_token
from service.web.guards.wrong_tokens import PERIOD
from service.web.luma_errors import enveloped, is_gateway
from service.web.problems import problem

_UNGUARDED = ("/healthz", "/readyz")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_PASSED_ON_FOR_READERS = ("GET", "HEAD")
"""The gateway passes OPTIONS on as any other method. What it does there is Luma's matter."""


class AccessGuard:
    """Middleware that refuses requests without permission: 401, 403, 421 or 429.

    Args:
        authenticator: knows the tokens.
        origins: origins whose pages may send requests.
    """

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, origins: Iterable[str]
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or call the application."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            REFUSALS.labels(str(refusal.status_code)).inc()
            await enveloped(scope["path"], refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if path.startswith("/callbacks/"):
            return None
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if path not in _UNGUARDED and (refusal := self._refusal_without_tokens(scope)):
            return refusal
        if self._is_foreign(headers.get("origin"), host) and _is_write(scope, mcp_counts=True):
            return problem(
                403,
                "Pages of this origin may not send this request.",
                hint="Add the origin to TRACKER_CORS_ORIGINS if its pages should be allowed.",
            )
        if (
            path in _UNGUARDED
            or (scope["method"] == "OPTIONS" and not is_gateway(path))
            or not self._authenticator.need_tokens
        ):
            return None
        return self._refusal_by_token(scope)

    def _refusal_without_tokens(self, scope: Scope) -> Response | None:
        """Check a request where no tokens are set: it must be local."""
        if self._authenticator.need_tokens or (
            _is_local(scope) and not self._authenticator.callbacks_only
        ):
            return None
        detail = "Without tokens, only programs on this machine are served, under a local name."
        if self._authenticator.callbacks_only:
            detail = "Without tokens, only callbacks, /healthz and /readyz are served here."
        return problem(421, detail, hint="Set TRACKER_API_TOKENS, and send one of the tokens.")

    def _refusal_by_token(self, scope: Scope) -> Response | None:
        """Check the token where tokens are set."""
        authorization = _first(scope, b"authorization")
        digest = self._authenticator.digest_of(authorization)
        if digest is None:
            return self._wrong_token(scope) if sent_token(authorization) else _unauthorized()
        if _is_write(scope, mcp_counts=False) and not self._authenticator.may_write(digest):
            return problem(403, "This token is read-only.", hint="Send a token without `ro:`.")
        return None

    def _wrong_token(self, scope: Scope) -> Response:
        """Count and refuse a wrong token. A valid one always passes, whatever the count."""
        address, counter = (scope.get("client") or ("",))[0], self._authenticator.wrong_tokens
        if not counter.too_many(address):
            counter.add(address)
            return _unauthorized()
        return problem(
            429,
            "Too many wrong tokens came from this address.",
            hint="Send a valid token, which is always accepted, or wait.",
            headers={"Retry-After": f"{PERIOD:.0f}"},
        )

    def _is_foreign(self, origin: str | None, host: str) -> bool:
        return bool(origin) and origin not in self._origins and _netloc(origin) != host


def _is_write(scope: Scope, *, mcp_counts: bool) -> bool:
    """Return whether the request may change something.

    Args:
        mcp_counts: whether `/mcp` counts: all its requests are POSTs, but its tools only read.
    """
    if scope["path"] == "/mcp":
        return mcp_counts
    if is_gateway(scope["path"]):
        return scope["method"] not in _PASSED_ON_FOR_READERS
    return scope["method"] not in _SAFE_METHODS


def _unauthorized() -> Response:
    return problem(
        401,
        "A valid bearer token is required.",
        hint="Send `Authorization: Bearer` with one of TRACKER_API_TOKENS.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _netloc(origin: str | None) -> str | None:
    try:
        return urlsplit(origin or "").netloc
    except ValueError:
        return None


def _is_local(scope: Scope) -> bool:
    """Return whether the request has a local host name and passed no proxy or tunnel."""
    names = [name for name, _ in scope["headers"]]
    return is_direct(names) and is_local_name(_first(scope, b"host"))


def _first(scope: Scope, name: bytes) -> bytes:
    """Return the value of a header, unchanged; empty if it is missing."""
    return next((value for key, value in scope["headers"] if key == name), b"")
