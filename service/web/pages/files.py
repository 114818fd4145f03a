"""Scripts and styles of the pages, under a path that names their content, so caches keep them."""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.web.guards.access import FILES

_FOLDER = Path(__file__).with_name("static")
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOREVER = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


class _File(NamedTuple):
    content: bytes
    compressed: bytes
    content_type: str


def url_of(name: str) -> str:
    """Return the path of a file; scripts import their neighbours relative to it."""
    return f"{FILES}{_version()}/{name}"


@router.get(FILES + "{version}/{name}")
def static_file(version: str, name: str, request: Request) -> Response:
    """Return a script or a stylesheet."""
    if (file := _files().get(name)) is None:
        raise HTTPException(404, "Not Found")
    # During an update, another instance may have named a version that is not ours.
    headers = {
        "Cache-Control": _FOREVER if version == _version() else "no-cache",
        "Content-Type": file.content_type,
        "Vary": "Accept-Encoding",
    }
    if accepts_gzip(request):
        return Response(file.compressed, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, headers=headers)


def accepts_gzip(request: Request) -> bool:
    """Return whether the client takes compressed answers."""
    return "gzip" in request.headers.get("accept-encoding", "")


@cache
def _files() -> dict[str, _File]:
    return {
        path.name: _read(path)
        for path in sorted(_FOLDER.iterdir())
        if path.suffix in _CONTENT_TYPES
    }


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, gzip.compress(content, mtime=0), _CONTENT_TYPES[path.suffix])


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, file in _files().items():
        digest.update(f"{name} {len(file.content)} ".encode() + file.content)
    return digest.hexdigest()[:16]
