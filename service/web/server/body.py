"""Reads a request's body, up to a size; the server sees to the time (`web/server/limits.py`).

One that has come whole before the application is called need not be waited for. A server that
knows says so in the scope, as the specification has it for extensions.
"""

from starlette.responses import Response
from starlette.types import Receive, Scope

from service.web.problems import problem

BODY = "luma_tracker.body"
"""The name of the extension; its value is the body."""


async def read_body(scope: Scope, receive: Receive, largest: int) -> bytes | Response:
    """The whole body, or the refusal of one that is larger than `largest` bytes, or cut off."""
    whole: bytes | None = scope.get("extensions", {}).get(BODY)
    if whole is not None:
        return whole if len(whole) <= largest else _too_large(largest)
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return problem(408, "The body did not come whole.")
        body += message.get("body", b"")
        if len(body) > largest:
            return _too_large(largest)
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(largest: int) -> Response:
    return problem(413, f"The body may have {largest} bytes at most.")
