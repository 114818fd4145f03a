"""Bytes on disk, written and answered in parts.

No file stays open while the event loop does something else: a request that is cancelled when the
simulator stops would leave it open.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from fastapi import status
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_PART = 2**20
"""Bytes that are read at once."""


async def write(path: Path, parts: AsyncIterator[bytes]) -> None:
    """Write the bytes to `path`, all or none; they are never held in memory together."""
    unfinished = path.with_name(f"{uuid4()}.unfinished")
    unfinished.touch()
    async for part in parts:
        _append(unfinished, part)
    unfinished.replace(path)


def answer(request: Request, path: Path, media_type: str) -> Response:
    """Return the bytes, or the range of them that is asked for, with a strong `ETag`."""
    size, etag = path.stat().st_size, f'"{path.stat().st_mtime_ns:x}"'
    headers = {"Accept-Ranges": "bytes", "ETag": etag}
    asked = request.headers.get("range")
    if asked is None or request.headers.get("if-range", etag) != etag:
        return _stream(path, 0, size, status.HTTP_200_OK, headers, media_type)
    start, stop = _range(asked, size)
    if start >= stop:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(b"", status.HTTP_416_RANGE_NOT_SATISFIABLE, headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return _stream(path, start, stop, status.HTTP_206_PARTIAL_CONTENT, headers, media_type)


def _stream(
    path: Path, start: int, stop: int, status_code: int, headers: dict[str, str], media_type: str
) -> Response:
    headers["Content-Length"] = str(stop - start)
    return StreamingResponse(_parts(path, start, stop), status_code, headers, media_type)


async def _parts(path: Path, start: int, stop: int) -> AsyncIterator[bytes]:
    for offset in range(start, stop, _PART):
        yield _read(path, offset, min(_PART, stop - offset))


def _range(asked: str, size: int) -> tuple[int, int]:
    """Return the first byte and the one after the last; an empty range if it is not understood."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if found is None or found[0] == "bytes=-":
        return size, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _append(path: Path, part: bytes) -> None:
    with path.open("ab") as file:
        file.write(part)


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
