"""Prepared responses: sent to the server in one piece.

An ASGI server checks every header of every response, which is half of the cost of a minimal
application. A prepared response is known to be well-formed, and our server writes it as it is.
The server offers this in the scope, as an ASGI extension. To any other server the same response is
sent in the usual two messages.
"""

from typing import NamedTuple

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.web.security_headers import SECURE

Headers = list[tuple[bytes, bytes]]

PREPARED = "luma_tracker.prepared"
"""Name of the ASGI extension, and the type of its message."""


class PreparedResponse(NamedTuple):
    """A response with all its headers, including `content-length`."""

    status: int
    headers: Headers
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "PreparedResponse":
        """Prepare a response, with the security headers that the middleware would add."""
        headers = response.raw_headers
        names = {name for name, _ in headers}
        secure = [header for header in SECURE if header[0] not in names]
        return cls(response.status_code, [*headers, *secure], bytes(response.body))

    def as_response(self) -> Response:
        """Return the same for a route of the framework."""
        response = Response(self.body, self.status)
        response.raw_headers = self.headers
        return response


async def send_prepared(scope: Scope, send: Send, response: PreparedResponse) -> None:
    """Send a response in one piece if the server supports it, else in two messages."""
    if PREPARED in scope.get("extensions", ()):
        await send({"type": PREPARED, **response._asdict()})
        return
    status, headers, body = response
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def send_whole(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send in one piece, except to a page of another site: that may need CORS headers."""
    if any(name == b"origin" for name, _ in scope["headers"]):
        await Response.__call__(response, scope, receive, send)
        return
    await send_prepared(scope, send, PreparedResponse.of(response))
