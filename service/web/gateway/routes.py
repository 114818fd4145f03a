"""The gateway's endpoint: finds out what a request is, and turns errors into Luma's form."""

from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service import errors
from service.domain.redaction import body_without_tokens, headers_without_tokens
from service.tracking.gateway import OF_ENCODED, Gateway
from service.web.gateway.creates import create
from service.web.gateway.lists import list_generations
from service.web.gateway.passing import pass_on
from service.web.gateway.reads import read
from service.web.gateway.targets import LONGEST, Target, target_below
from service.web.luma_errors import GATEWAYS, as_luma_error, luma_error
from service.web.problems import of_error

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CLOSED = 499  # nobody reads it: the caller has gone


class GatewayEndpoint:
    """Middleware that answers what is below the gateway's prefixes; the application does the rest.

    FastAPI, which does nothing here, would take as long as all that a create needs besides Luma
    and the database.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or call the application."""
        base = _base_of(scope["path"]) if scope["type"] == "http" else None
        if base is None:
            await self._app(scope, receive, send)
            return
        response = await answer(Request(scope, receive, send), base)
        await response(scope, receive, send)


def _base_of(path: str) -> str | None:
    return next((base for base in GATEWAYS if path.startswith(base)), None)


async def answer(request: Request, base: str) -> Response:
    """Answer as the API below a prefix does."""
    if request.method not in _METHODS:
        allowed = {"Allow": ", ".join(_METHODS)}
        return luma_error(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", allowed)
    upstream, gateway = GATEWAYS[base], request.app.state.gateway
    try:
        gateway.require_key(upstream)
    except errors.UpstreamError as error:
        return luma_error(HTTPStatus.UNAUTHORIZED, f"{error} {error.hint}")
    target = target_below(request.scope, base)
    if target is None:
        return luma_error(HTTPStatus.NOT_FOUND, "Not Found")
    if len(str(target)) > LONGEST:
        return luma_error(HTTPStatus.REQUEST_URI_TOO_LONG, "The path and query are too long.")
    try:
        return await _dispatch(request, gateway, upstream, target)
    except ClientDisconnect:
        return Response(status_code=_CLOSED)
    except errors.InvalidInput as error:
        return luma_error(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error} {error.hint}".strip())
    except errors.TrackerError as error:
        return _failed(error)


async def _dispatch(request: Request, gateway: Gateway, upstream: str, target: Target) -> Response:
    method, generation_id = request.method, target.generation_id
    if method == "POST" and (path := target.creates(upstream)):
        return await create(request, gateway, upstream, path, _caller(request))
    if method == "GET" and target.is_list:
        return await list_generations(request, gateway, upstream, str(target))
    if method == "GET" and generation_id:
        return await read(request, gateway, upstream, str(target), generation_id)
    passed = await pass_on(request, gateway, upstream, str(target))
    if method == "DELETE" and generation_id and passed.status_code < HTTPStatus.MULTIPLE_CHOICES:
        await gateway.record_deleted(upstream, generation_id)
    return passed


def _failed(error: errors.TrackerError) -> Response:
    """Build the response to an error: Luma's own answer, unless Luma is down."""
    answer = error.answer
    if answer is None or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return as_luma_error(of_error(error))
    response = Response(body_without_tokens(answer.body), answer.status)
    kept = [header for header in answer.headers if header[0] not in OF_ENCODED]
    response.raw_headers = headers_without_tokens(kept) + response.raw_headers
    return response


def _caller(request: Request) -> str:
    digest = request.app.state.authenticator.digest_of(
        request.headers.get("authorization", "").encode("latin-1")
    )
    return digest.hex() if digest else ""
