"""Reads a request body up to a maximum size. The server limits the time (`web/server/limits.py`).

A body that is complete before the application is called need not be read from messages. Our server
passes it in the scope, as an ASGI extension.
"""

from starlette.responses import Response
from starlette.types import Receive, Scope

from service.web.problems import problem

BODY = "luma_tracker.body"
"""Name of the ASGI extension. Its value is the complete body."""


async def read_body(scope: Scope, receive: Receive, max_size: int) -> bytes | Response:
    """Return the body, or an error: 413 above `max_size` bytes, 408 if it is incomplete."""
    complete: bytes | None = scope.get("extensions", {}).get(BODY)
    if complete is not None:
        return complete if len(complete) <= max_size else _too_large(max_size)
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return problem(408, "The connection was closed before the body was complete.")
        body += message.get("body", b"")
        if len(body) > max_size:
            return _too_large(max_size)
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(max_size: int) -> Response:
    return problem(413, f"The body is larger than {max_size} bytes.")
