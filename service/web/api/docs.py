"""Pages of the API: Swagger UI at `/docs`, and Redoc at `/redoc`.

The pages work without the internet: everything they load is in `service/web/static`, served under
`/static/`. Each page has its own Content-Security-Policy, which allows files of this server and
nothing inline. `service/web/static/README.md` explains how to update the vendored files.

Redoc adds two `<style>` elements to its page. Its policy allows exactly these two, by their hashes:
an empty one, which styled-components fills through the CSSOM, and the styles of the scrollbar.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Header
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.web.responses.generation import etag_matches

_FOLDER = Path(__file__).parents[1] / "static"
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_ASSETS = frozenset(
    {
        "docs.js",
        "pages.css",
        "redoc.js",
        "redoc.standalone.js",
        "swagger-ui-bundle.js",
        "swagger-ui.css",
    }
)
_REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",  # nothing
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='",  # perfect-scrollbar of Redoc 2.5.4
)

router = APIRouter(include_in_schema=False)

_IfNoneMatch = Annotated[str | None, Header()]


class _File(NamedTuple):
    content: bytes
    etag: str
    content_type: str


def _policy(*, style: str = "'self'") -> str:
    return (
        f"default-src 'none'; script-src 'self'; style-src {style}; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


_DOCS_POLICY = _policy()
_REDOC_POLICY = _policy(style=" ".join(("'self'", *_REDOC_STYLES)))


@router.get("/docs")
def swagger_ui(if_none_match: _IfNoneMatch = None) -> Response:
    """Show the API, and send requests to it."""
    return _response("docs.html", if_none_match, _DOCS_POLICY)


@router.get("/redoc")
def redoc(if_none_match: _IfNoneMatch = None) -> Response:
    """Show the reference of the API."""
    return _response("redoc.html", if_none_match, _REDOC_POLICY)


@router.get("/static/{name}")
def static_file(name: str, if_none_match: _IfNoneMatch = None) -> Response:
    """Return a script or a stylesheet of these pages."""
    if name not in _ASSETS:
        raise HTTPException(404, "Not Found")
    return _response(name, if_none_match)


def _response(name: str, if_none_match: str | None, policy: str | None = None) -> Response:
    file = _read(name)
    headers = {"Cache-Control": "no-cache", "ETag": file.etag}
    if policy:
        headers["Content-Security-Policy"] = policy
    if if_none_match and etag_matches(if_none_match, file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers={**headers, "Content-Type": file.content_type})


@cache
def _read(name: str) -> _File:
    path = _FOLDER / name
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(content, etag, _CONTENT_TYPES[path.suffix])
