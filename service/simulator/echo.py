"""Routes that Luma does not have: they tell what arrived, and stream bodies of any size.

Tests of what stands between a client and Luma use them, since such routes are unknown to it.
"""

import hashlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

PATTERN = bytes(range(256)) * 256
"""The content that `/bytes/{n}` repeats, 64 kB."""


def add_echo(app: FastAPI) -> None:
    """Add `/echo` with all paths below it, for any method, and `GET /bytes/{n}` to an API."""
    for path in ("/echo", "/echo/{rest:path}"):
        app.api_route(path, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])(_echo)
    app.get("/bytes/{size}")(_bytes)


async def _echo(request: Request) -> JSONResponse:
    """Answer what arrived; the body is read in parts, and its size and SHA-256 are answered."""
    digest, size = hashlib.sha256(), 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
    seen = {
        "method": request.method,
        "path": request.scope["raw_path"].decode(),
        "query": request.scope["query_string"].decode(),
        "headers": [
            [name.decode(), value.decode("latin-1")] for name, value in request.headers.raw
        ],
        "bytes": size,
        "sha256": digest.hexdigest(),
    }
    return JSONResponse(seen)


async def _bytes(size: int) -> StreamingResponse:
    """Answer `size` bytes."""
    headers = {"content-length": str(size)}
    return StreamingResponse(_parts(size), media_type="application/octet-stream", headers=headers)


async def _parts(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // len(PATTERN)):
        yield PATTERN
    yield PATTERN[: size % len(PATTERN)]
