"""Errors in the form of Luma's APIs, for requests below the gateway's paths.

Luma's clients expect `{"detail": "…"}` and would not understand the problems of the other routes.
"""

import json
from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from service.domain.upstreams import AGENTS, DREAM_MACHINE

GATEWAYS = {"/dream-machine/v1/": DREAM_MACHINE, "/agents/v1/": AGENTS}
"""The upstream behind each prefix of the gateway."""
_KEPT = ("retry-after", "www-authenticate", "connection", "allow")


def is_gateway(path: str) -> bool:
    """Return whether a path is one of the gateway's prefixes, or below it."""
    return f"{path}/".startswith(tuple(GATEWAYS))


def luma_error(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Build an error in Luma's form."""
    return JSONResponse({"detail": detail}, status, headers=dict(headers or {}))


def enveloped(path: str, problem: Response) -> Response:
    """Return a problem of ours in the form of the routes that a path belongs to."""
    return as_luma_error(problem) if is_gateway(path) else problem


def as_luma_error(problem: Response) -> Response:
    """Convert a problem of ours into Luma's form."""
    body = json.loads(bytes(problem.body))
    detail = " ".join(filter(None, (body["detail"], body.get("hint"))))
    kept = {name: problem.headers[name] for name in _KEPT if name in problem.headers}
    return luma_error(problem.status_code, detail, kept)
