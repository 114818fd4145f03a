"""The MCP endpoint `/mcp`: accepts complete POSTs of JSON, and refuses everything else."""

from typing import Protocol

from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.guards.slow_log import WAIT_SECONDS
from service.web.problems import problem
from service.web.server.body import read_body
from service.web.server.limits import MAX_BODY
from service.web.server.prepared import send_whole

_PATH = "/mcp"


class McpTransport(Protocol):
    """Answers complete POSTs."""

    def longest_wait(self, body: bytes) -> int:
        """Return for how many seconds the response to a request may be awaited."""

    async def answer(self, scope: Scope, body: bytes, receive: Receive) -> Response | None:
        """Return the response to a plain request, None for any other."""

    async def pass_to_sdk(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer any request by the SDK."""


class McpEndpoint:
    """Middleware that passes POSTs to `/mcp` to `state.mcp`, and other paths to the application."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or call the application."""
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
            return
        scope["headers"] = [(name, value.strip()) for name, value in scope["headers"]]
        body = await _body(Request(scope, receive))
        mcp: McpTransport = self._state.mcp
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        scope[WAIT_SECONDS] = mcp.longest_wait(body)
        if answer := await mcp.answer(scope, body, receive):
            await send_whole(answer, scope, receive, send)
        else:
            await mcp.pass_to_sdk(scope, body, receive, send)


async def _body(request: Request) -> bytes | Response:
    if request.method != "POST":
        return problem(405, "/mcp accepts only POST.", headers={"Allow": "POST"})
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        return problem(400, "/mcp accepts only the content type application/json.")
    return await read_body(request.scope, request.receive, MAX_BODY)
