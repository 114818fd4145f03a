"""Templates to responses. Templates are compiled once; what they insert is escaped."""

import gzip
from functools import cache
from pathlib import Path

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from service.web.pages import files
from service.web.pages.formatting import FILTERS

_FOLDER = Path(__file__).with_name("templates")
_LEVEL = 5  # of compression; higher ones cost more time than they save


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals["static"] = files.url_of
    return made


def respond(
    request: Request,
    template: str,
    context: dict[str, object],
    *,
    status: int = 200,
    headers: dict[str, str],
) -> Response:
    """Render a template; the response is compressed if the client takes that."""
    content = _environment().get_template(template).render(context).encode()
    response = Response(content, status, headers, media_type="text/html")
    response.headers["Vary"] = "Accept-Encoding, Cookie"
    if files.accepts_gzip(request):
        response.body = gzip.compress(content, _LEVEL, mtime=0)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
    return response
