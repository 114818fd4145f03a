"""HEAD is GET without the body, on every route."""

from starlette.types import ASGIApp, Receive, Scope, Send

BODILESS = "service.head"
"""In the scope where nobody will read the body, for routes whose body has no end."""


class HeadAsGet:
    """Has HEAD answered by the route for GET; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", BODILESS: True}
        await self._app(scope, receive, send)
