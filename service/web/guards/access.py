"""Who may ask: bearer tokens, and pages of other sites kept out.

Pure ASGI, in front of everything. Luma's callbacks carry their own token and come from
anywhere, so nothing here concerns them.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.metrics import REFUSALS
from service.web.guards.authentication import Authenticator, is_direct, is_local_name, sent_token
from service.web.guards.wrong_tokens import PERIOD
from service.web.problems import problem

_OPEN = ("/healthz", "/readyz")
_READS = ("GET", "HEAD", "OPTIONS")


class AccessGuard:
    """Lets through who may ask, and answers 401, 403, 421 or 429 to the others.

    Args:
        visitors: who is welcome.
        origins: origins whose pages may call us.
    """

    def __init__(self, app: ASGIApp, *, visitors: Authenticator, origins: Iterable[str]) -> None:
        self._app = app
        self._visitors = visitors
        self._origins = frozenset(origins)

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
        if path not in _OPEN and (misdirected := self._misdirected(scope)):
            return misdirected
        if self._is_foreign(headers.get("origin"), host) and self._changes(scope, mcp=True):
            return problem(
                403, "Pages of this origin may not do that.", hint="TRACKER_CORS_ORIGINS"
            )
        if path in _OPEN or scope["method"] == "OPTIONS" or not self._visitors.need_tokens:
            return None
        return self._unauthorized(scope)

    def _misdirected(self, scope: Scope) -> Response | None:
        """The refusal of who may not ask where there are no tokens."""
        if self._visitors.need_tokens or (_is_local(scope) and not self._visitors.callbacks_only):
            return None
        told = "Without tokens, only programs on this machine may ask, and by a local name."
        if self._visitors.callbacks_only:
            told = "Without tokens, only callbacks, /healthz and /readyz are served here."
        return problem(421, told, hint="Set TRACKER_API_TOKENS, and send one of them.")

    def _unauthorized(self, scope: Scope) -> Response | None:
        authorization = _first(scope, b"authorization")
        token = self._visitors.token_of(authorization)
        if token is None:
            return self._wrong(scope) if sent_token(authorization) else _no_token()
        if self._changes(scope, mcp=False) and not self._visitors.may_write(token):
            return problem(403, "This token may only read.", hint="Use one without `ro:`.")
        return None

    def _wrong(self, scope: Scope) -> Response:
        """The refusal of a wrong token; a good one passes however many wrong ones came."""
        address, guesses = (scope.get("client") or ("",))[0], self._visitors.guesses
        if not guesses.too_many(address):
            guesses.add(address)
            return _no_token()
        return problem(
            429,
            "Too many wrong tokens came from this address.",
            hint="Send a good one, which always passes.",
            headers={"Retry-After": f"{PERIOD:.0f}"},
        )

    def _changes(self, scope: Scope, *, mcp: bool) -> bool:
        """Whether the request may change something; of MCP the caller knows, by its tools."""
        if scope["path"] == "/mcp":
            return mcp
        return scope["method"] not in _READS

    def _is_foreign(self, origin: str | None, host: str) -> bool:
        return bool(origin) and origin not in self._origins and _netloc(origin) != host


def _no_token() -> Response:
    return problem(
        401,
        "A valid bearer token is wanted.",
        hint="Send `Authorization: Bearer` with one of TRACKER_API_TOKENS.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _netloc(origin: str | None) -> str | None:
    try:
        return urlsplit(origin or "").netloc
    except ValueError:
        return None


def _is_local(scope: Scope) -> bool:
    """Whether a request was made to a local name, and not passed on by a proxy or tunnel."""
    names = [name for name, _ in scope["headers"]]
    return is_direct(names) and is_local_name(_first(scope, b"host"))


def _first(scope: Scope, name: bytes) -> bytes:
    """The value of a header, as it came."""
    return next((value for key, value in scope["headers"] if key == name), b"")
