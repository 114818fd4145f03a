"""Authentication and origin checks: a bearer token or a session; no pages of other sites.

Pure ASGI middleware. Luma's callbacks carry their own token and may come from anywhere, so no check
applies to them.
"""

from collections.abc import Iterable
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.metrics import REFUSALS
from service.web.guards import csrf
from service.web.guards.authentication import Authenticator, is_direct, is_local_name, sent_token
from service.web.guards.sessions import COOKIE, SESSION, Session
from service.web.guards.wrong_tokens import PERIOD
from service.web.luma_errors import enveloped, is_gateway
from service.web.problems import problem

_UNGUARDED = ("/healthz", "/readyz")
SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
FILES = "/static/pages/"
"""Files that the sign-in page needs; they are in the package, so they tell nobody anything."""
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
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and SESSION in scope and _is_write(scope, mcp_counts=True):
            checked = await csrf.check(scope, receive, scope[SESSION].csrf_token)
            receive, refusal = checked.receive, None if checked.valid else _forged()
        if refusal is None:
            await self._app(scope, receive, send)
            return
        REFUSALS.labels(str(refusal.status_code)).inc()
        await enveloped(scope["path"], refusal)(scope, receive, send)

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
            or _is_before_sign_in(scope)
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
        if digest is None and sent_token(authorization):
            return self._wrong_token(scope)
        if digest is None and (session := self._session(scope)):
            scope[SESSION] = session
            digest = session.digest
        if digest is None:
            return _sign_in_first(scope) if _is_of_browser(scope) else _unauthorized()
        if _is_write(scope, mcp_counts=False) and not self._authenticator.may_write(digest):
            return problem(403, "This token is read-only.", hint="Send a token without `ro:`.")
        return None

    def _session(self, scope: Scope) -> Session | None:
        """Return the session of the cookie. Programs send a token: MCP and the gateway want one."""
        if scope["path"] == "/mcp" or is_gateway(scope["path"]):
            return None
        cookies = cookie_parser(Headers(scope=scope).get("cookie", ""))
        return self._authenticator.session_of(cookies[COOKIE]) if COOKIE in cookies else None

    def _wrong_token(self, scope: Scope) -> Response:
        """Count and refuse a wrong token. A valid one always passes, whatever the count."""
        address, counter = (scope.get("client") or ("",))[0], self._authenticator.wrong_tokens
        return _too_many_wrong() if counter.refuses(address) else _unauthorized()

    def _is_foreign(self, origin: str | None, host: str) -> bool:
        return bool(origin) and origin not in self._origins and _netloc(origin) != host


def _is_write(scope: Scope, *, mcp_counts: bool) -> bool:
    """Return whether the request may change something.

    Args:
        mcp_counts: whether `/mcp` counts: all its requests are POSTs, but its tools only read; and
            `/sign-out`, which changes nothing but the session.
    """
    if scope["path"] == "/mcp":
        return mcp_counts
    if is_gateway(scope["path"]):
        return scope["method"] not in _PASSED_ON_FOR_READERS
    if scope["path"] == SIGN_OUT and not mcp_counts:
        return False  # readers may sign out
    return scope["method"] not in _SAFE_METHODS


def _too_many_wrong() -> Response:
    """Build the refusal of an address that sent too many wrong tokens."""
    return problem(
        429,
        "Too many wrong tokens came from this address.",
        hint="Send a valid token, which is always accepted, or wait.",
        headers={"Retry-After": f"{PERIOD:.0f}"},
    )


def _is_before_sign_in(scope: Scope) -> bool:
    """Return whether the request belongs to signing in."""
    path: str = scope["path"]
    return path == SIGN_IN or (path.startswith(FILES) and scope["method"] in _SAFE_METHODS)


def _is_of_browser(scope: Scope) -> bool:
    """Return whether a browser opens a page; a script of a page would not see that it has to."""
    shown = scope["method"] == "GET" and not is_gateway(scope["path"])
    by_script = _first(scope, b"hx-request") == b"true"
    return shown and not by_script and b"text/html" in _first(scope, b"accept").lower()


def _sign_in_first(scope: Scope) -> Response:
    query = scope["query_string"].decode("latin-1")
    target = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"{SIGN_IN}?next={quote(target, safe='/')}", 303)


def _forged() -> Response:
    return problem(
        403,
        "The CSRF token of the session is missing or wrong.",
        hint="Reload the page and try again.",
    )


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
