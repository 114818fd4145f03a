"""Reads a request's body, within limits of size and time.

One that has come whole before the application is called need not be waited for. A server that
knows says so in the scope, as the specification has it for extensions.
"""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope

from service.web.problems import problem

MAX_TIME = 10  # seconds for the body to come

BODY = "luma_tracker.body"
"""The name of the extension; its value is the body."""


async def read_body(scope: Scope, receive: Receive, largest: int) -> bytes | Response:
    """The whole body, or the refusal of one that is larger than `largest` bytes, or too slow."""
    whole: bytes | None = scope.get("extensions", {}).get(BODY)
    if whole is not None:
        return whole if len(whole) <= largest else _too_large(largest)
    try:
        async with asyncio.timeout(MAX_TIME):
            return await _read(receive, largest)
    except TimeoutError:
        return _too_slow()


async def _read(receive: Receive, largest: int) -> bytes | Response:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return _too_slow()
        body += message.get("body", b"")
        if len(body) > largest:
            return _too_large(largest)
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(largest: int) -> Response:
    return problem(413, f"The body may have {largest} bytes at most.")


def _too_slow() -> Response:
    return problem(408, f"The body did not come whole within {MAX_TIME} s.")
