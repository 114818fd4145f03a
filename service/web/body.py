"""Reads a request's body, within limits of size and time."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive

from service.web.problems import problem

MAX_TIME = 10  # seconds for the body to come


async def read_body(receive: Receive, largest: int) -> bytes | Response:
    """The whole body, or the refusal of one that is larger than `largest` bytes, or too slow."""
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
            return problem(413, f"The body may have {largest} bytes at most.")
        more = message.get("more_body", False)
    return bytes(body)


def _too_slow() -> Response:
    return problem(408, f"The body did not come whole within {MAX_TIME} s.")
