"""MCP over HTTP: stateless, so that any worker can answer any call.

The SDK builds streams, tasks and a session for every request that is spoken in the way of 2025,
and reads the tools' schemas for every one in that of 2026. An ordinary request needs none of that:
it goes straight to `serve_one`, the function at which both of the SDK's ways end. What is at all
unusual, and whatever is wrong, is left to the SDK, so nothing here refuses anything. Tests send
the same to both and demand the same bytes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.mcp_server.direct import DirectRequests
from service.mcp_server.server import make_server
from service.tracking.tracker import Tracker


class HttpTransport:
    """Answers the requests that come to `/mcp`.

    Host, Origin and tokens are checked in front of it, see `service.web.guards.access`.

    Args:
        fast: send ordinary requests past what they don't need.
    """

    def __init__(self, tracker: Tracker, *, fast: bool) -> None:
        server = make_server(tracker)
        self._ordinary = DirectRequests(server) if fast else None
        self._sdk = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Be able to answer."""
        async with self._sdk.run():
            yield

    async def answer(self, scope: Scope, body: bytes) -> Response | None:
        """The response to a POST that has come whole, if it is an ordinary one."""
        return await self._ordinary.answer(scope, body) if self._ordinary else None

    async def pass_to_sdk(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Have the SDK answer it."""
        whole = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(whole, None) or await receive()

        await self._sdk.handle_request(scope, again, send)
