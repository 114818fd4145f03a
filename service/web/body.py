"""Reads a request's body, within limits of size and time."""

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.web.problems import problem

MAX_TIME = 10  # seconds for the body to come


async def read_body(request: Request, largest: int) -> bytes | Response:
    """The whole body, or the refusal of one that is larger than `largest` bytes, or too slow."""
    try:
        async with asyncio.timeout(MAX_TIME):
            body = await _read(request, largest)
    except (TimeoutError, ClientDisconnect):
        return problem(408, f"The body did not come whole within {MAX_TIME} s.")
    if body is None:
        return problem(413, f"The body may have {largest} bytes at most.")
    return body


async def _read(request: Request, largest: int) -> bytes | None:
    """None as soon as it turns out to be too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            return None
    return bytes(body)
