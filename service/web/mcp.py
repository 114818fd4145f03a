"""`/mcp`, in front of the framework: what is not a whole POST of JSON goes no further."""

from typing import Protocol

from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.problems import problem
from service.web.server.body import read_body
from service.web.server.limits import MAX_BODY
from service.web.server.prepared import PreparedResponse, send_prepared

_PATH = "/mcp"


class McpTransport(Protocol):
    """What answers POSTs that have come whole."""

    async def answer(self, scope: Scope, body: bytes) -> Response | None:
        """The response to an ordinary one."""

    async def pass_to_sdk(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer any other."""


class McpEndpoint:
    """Passes POSTs to `/mcp` on to what `state.mcp` is, and what is not for `/mcp` to the app."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
            return
        scope["headers"] = [(name, value.strip()) for name, value in scope["headers"]]
        body = await _body(Request(scope, receive))
        mcp: McpTransport = self._state.mcp
        if isinstance(body, Response):
            await body(scope, receive, send)
        elif answer := await mcp.answer(scope, body):
            await _send(answer, scope, receive, send)
        else:
            await mcp.pass_to_sdk(scope, body, receive, send)


async def _send(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """In one piece, unless the page of some site may have to be told that it may read it."""
    if any(name == b"origin" for name, _ in scope["headers"]):
        await answer(scope, receive, send)
        return
    await send_prepared(scope, send, PreparedResponse.of(answer))


async def _body(request: Request) -> bytes | Response:
    if request.method != "POST":
        return problem(405, "MCP is spoken by POST here.", headers={"Allow": "POST"})
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        return problem(400, "MCP is spoken in application/json.")
    return await read_body(request.scope, request.receive, MAX_BODY)
