"""`/mcp`, in front of the framework: what is not a whole POST of JSON goes no further."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.body import read_body
from service.web.problems import problem

MAX_BODY = 1024 * 1024  # bytes
_PATH = "/mcp"


class Mcp:
    """Passes POSTs to `/mcp` on to what `state.mcp` is, and what is not for `/mcp` to the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
            return
        scope["headers"] = [(name, value.strip()) for name, value in scope["headers"]]
        body = await _body(Request(scope, receive))
        if isinstance(body, Response):
            await body(scope, receive, send)
        else:
            await scope["app"].state.mcp(scope, body, receive, send)


async def _body(request: Request) -> bytes | Response:
    if request.method != "POST":
        return problem(405, "MCP is spoken by POST here.", headers={"Allow": "POST"})
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        return problem(400, "MCP is spoken in application/json.")
    return await read_body(request.receive, MAX_BODY)
