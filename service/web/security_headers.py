"""What every answer says to browsers: do not guess, do not frame, do not tell others."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
_PAGES = ("/docs", "/redoc")  # FastAPI's own, with scripts from elsewhere

SECURE = tuple(
    (name.lower().encode(), value.encode()) for name, value in (_HEADERS | _POLICY).items()
)
"""The same for who writes headers by hand, of an answer that is no page."""


def secure(headers: MutableHeaders, path: str = "") -> None:
    """Add them to the headers of the answer to a request for `path`."""
    said = _HEADERS if path.startswith(_PAGES) else _HEADERS | _POLICY
    for name, value in said.items():
        headers.setdefault(name, value)


class SecurityHeaders:
    """Adds them to every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and add the headers on the way back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure(MutableHeaders(scope=message), scope["path"])
            await send(message)

        await self._app(scope, receive, with_headers)
