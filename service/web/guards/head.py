"""Answers HEAD on every route that has GET."""

from starlette.types import ASGIApp, Receive, Scope, Send

BODILESS = "service.head"
"""Key in the scope of a HEAD request. A route whose body never ends must send an empty one."""


class HeadAsGet:
    """Middleware that turns HEAD into GET. The server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", BODILESS: True}
        await self._app(scope, receive, send)
