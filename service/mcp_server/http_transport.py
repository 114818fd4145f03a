"""MCP over HTTP: stateless, so that any worker can answer any request.

The SDK builds streams, tasks and a session for every request of the protocol of 2025, and reads the
tools' schemas for every request of that of 2026. A plain request needs none of this: it is passed
directly to `serve_one`, the function in which both of the SDK's transports end. Unusual and wrong
requests are left to the SDK, so nothing is refused here. Tests send the same requests to both and
require the same bytes.

Every response is JSON, except that a wait with progress notifications is a stream, and so is a
subscription. A client that leaves ends its wait.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.mcp_server.direct import DirectRequests
from service.mcp_server.leaving import unless_gone
from service.mcp_server.reading import LONGEST_WAIT
from service.mcp_server.server import Service, make_server
from service.mcp_server.waits import accepts_stream, wait_in


class HttpTransport:
    """Answers the requests to `/mcp`.

    Host, Origin and token are checked before, in `service.web.guards.access`.

    Args:
        service: what the tools work on.
        fast: answer plain requests without the SDK's transport.
    """

    def __init__(self, service: Service, *, fast: bool) -> None:
        server = make_server(service)
        self._direct = DirectRequests(server) if fast else None
        self._json = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
        self._streams = StreamableHTTPSessionManager(server, json_response=False, stateless=True)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run the SDK's transports while the context is open."""
        async with self._json.run(), self._streams.run():
            yield

    def longest_wait(self, body: bytes) -> int:
        """Return for how many seconds the response to a request may be awaited."""
        return LONGEST_WAIT if wait_in(body) else 0

    async def answer(self, scope: Scope, body: bytes, receive: Receive) -> Response | None:
        """Return the response to a complete POST if it is a plain request, else None."""
        return await self._direct.answer(scope, body, receive) if self._direct else None

    async def pass_to_sdk(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer a request by the SDK's transport."""
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_again() -> Message:
            return next(messages, None) or await receive()

        wait = wait_in(body)
        if wait and wait.wants_progress and accepts_stream(scope):
            await self._streams.handle_request(scope, receive_again, send)
        elif wait:  # for a JSON response, the SDK does not notice that a client has left
            await unless_gone(receive, self._json.handle_request(scope, receive_again, send))
        else:
            await self._json.handle_request(scope, receive_again, send)
