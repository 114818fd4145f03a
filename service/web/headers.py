"""What every answer says to browsers: do not guess, do not frame, do not tell others."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_PAGES = ("/docs", "/redoc")  # FastAPI's own, with scripts from elsewhere


def secure(headers: MutableHeaders, path: str = "") -> None:
    """Add them to the headers of the answer to a request for `path`."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith(_PAGES):
        headers.setdefault("Content-Security-Policy", _NOTHING)


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
