"""MCP over HTTP: stateless, so that any worker can answer any request.

The SDK builds streams, tasks and a session for every request of the protocol of 2025, and reads the
tools' schemas for every request of that of 2026. A plain request needs none of this: it is passed
directly to `serve_one`, the function in which both of the SDK's transports end. Unusual and wrong
requests are left to the SDK, so nothing is refused here. Tests send the same requests to both and
require the same bytes.
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
    """Answers the requests to `/mcp`.

    Host, Origin and token are checked before, in `service.web.guards.access`.

    Args:
        tracker: answers the tools.
        fast: answer plain requests without the SDK's transport.
    """

    def __init__(self, tracker: Tracker, *, fast: bool) -> None:
        server = make_server(tracker)
        self._direct = DirectRequests(server) if fast else None
        self._sdk = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run the SDK's transport while the context is open."""
        async with self._sdk.run():
            yield

    async def answer(self, scope: Scope, body: bytes) -> Response | None:
        """Return the response to a complete POST if it is a plain request, else None."""
        return await self._direct.answer(scope, body) if self._direct else None

    async def pass_to_sdk(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer a request by the SDK's transport."""
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_again() -> Message:
            return next(messages, None) or await receive()

        await self._sdk.handle_request(scope, receive_again, send)
