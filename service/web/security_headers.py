"""Security headers on every response: no MIME sniffing, no frames, no referrer, no scripts."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

SECURE = tuple((name.lower().encode(), value.encode()) for name, value in _HEADERS.items())
"""The same headers as ASGI has them, for responses that are built without Starlette."""


def secure(headers: MutableHeaders) -> None:
    """Add the headers that a response lacks.

    A page sets a `Content-Security-Policy` of its own (`pages/page.py`, `api/docs.py`).
    """
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)


class SecurityHeaders:
    """Middleware that adds the security headers to every response, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and add the headers to its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, with_headers)
