"""What every answer says to browsers: do not guess, do not frame, do not tell others."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_FREE_ON_PAGES = "Content-Security-Policy"
_PAGES = ("/docs", "/redoc")  # FastAPI's own, with scripts from elsewhere

SECURE: tuple[tuple[bytes, bytes], ...] = tuple(
    (name.lower().encode(), value.encode()) for name, value in _HEADERS.items()
)
"""The same as they are sent, for what answers in front of `SecurityHeaders`."""


def secure(headers: MutableHeaders, path: str = "") -> None:
    """Add them to the headers of the answer to a request for `path`."""
    on_page = path.startswith(_PAGES)
    for name, value in _HEADERS.items():
        if not (on_page and name == _FREE_ON_PAGES):
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
