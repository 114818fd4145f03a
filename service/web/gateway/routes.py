"""The gateway's routes: finds out what a request is, and turns errors into Luma's form."""

import re
from http import HTTPStatus
from urllib.parse import unquote

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from service import errors
from service.domain.generation import is_usable_id
from service.tracking.gateway import Gateway
from service.web.gateway.creates import create
from service.web.gateway.lists import list_generations
from service.web.gateway.passing import pass_on
from service.web.gateway.reads import read
from service.web.luma_errors import API_KEYS, GATEWAYS, as_luma_error, luma_error
from service.web.problems import of_error

router = APIRouter(include_in_schema=False)

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_GENERATION = re.compile(r"generations/([^/?]+)")
_CREATES = {
    "dream_machine": re.compile(
        r"generations(/video|/image|/video/(reframe|modify)|/image/reframe|/[^/]+/(upscale|audio))?"
    ),
    "agents": re.compile(r"generations"),
}
"""The paths whose POST creates a generation, by upstream."""
_DEEPEST_ENCODING = 3
_CLOSED = 499  # nobody reads it: the caller has gone


@router.api_route("/dream-machine/v1/{path:path}", methods=_METHODS)
async def dream_machine(request: Request) -> Response:
    """Answer as Dream Machine does."""
    return await _answer(request, "/dream-machine/v1/")


@router.api_route("/agents/v1/{path:path}", methods=_METHODS)
async def agents(request: Request) -> Response:
    """Answer as the Agents API does."""
    return await _answer(request, "/agents/v1/")


async def _answer(request: Request, base: str) -> Response:
    upstream, gateway = GATEWAYS[base], request.app.state.gateway
    if not gateway.has_key_for(upstream):
        setting = API_KEYS[upstream]
        return luma_error(
            HTTPStatus.UNAUTHORIZED,
            f"The tracker has no API key for this API. Set {setting} where the tracker runs.",
        )
    path = path_below(request.scope, base)
    if path is None:
        return luma_error(HTTPStatus.NOT_FOUND, "Not Found")
    try:
        return await _dispatch(request, gateway, upstream, path)
    except ClientDisconnect:
        return Response(status_code=_CLOSED)
    except errors.InvalidInput as error:
        return luma_error(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error} {error.hint}".strip())
    except errors.NotFound:
        return luma_error(HTTPStatus.NOT_FOUND, "Generation not found")
    except errors.TrackerError as error:
        return as_luma_error(of_error(error))


async def _dispatch(request: Request, gateway: Gateway, upstream: str, path: str) -> Response:
    method, query = request.method, request.scope["query_string"].decode("latin-1")
    target = f"{path}?{query}" if query else path
    if method == "POST" and _CREATES[upstream].fullmatch(unquote(path)):
        return await create(request, gateway, upstream, path, _caller(request))
    if method == "GET" and path == "generations":
        return await list_generations(request, gateway, upstream, target)
    found = _GENERATION.fullmatch(path)
    generation_id = unquote(found[1]) if found else ""
    if method == "GET" and is_usable_id(generation_id):
        return await read(request, gateway, upstream, target, generation_id)
    passed = await pass_on(request, gateway, upstream, target)
    if method == "DELETE" and generation_id and passed.status_code < HTTPStatus.MULTIPLE_CHOICES:
        await gateway.record_deleted(upstream, generation_id)
    return passed


def path_below(scope: Scope, base: str) -> str | None:
    """Return the path below the base, percent-encoded as it came; None if it may lead out of it."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    raw = raw.partition(b"?")[0]
    if not raw.startswith(base.encode()):
        return None
    path = raw.removeprefix(base.encode()).decode("latin-1")
    decoded = path
    for _ in range(_DEEPEST_ENCODING):
        if _leads_out(decoded):
            return None
        decoded = unquote(decoded)
    return None if "%2" in decoded or _leads_out(decoded) else path


def _leads_out(path: str) -> bool:
    return "\\" in path or path.startswith("/") or any(p in (".", "..") for p in path.split("/"))


def _caller(request: Request) -> str:
    digest = request.app.state.authenticator.digest_of(
        request.headers.get("authorization", "").encode("latin-1")
    )
    return digest.hex() if digest else ""
