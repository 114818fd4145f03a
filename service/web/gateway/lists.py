"""Lists: from Luma, whose answers teach the store; from the store while Luma is down."""

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from service.domain.redaction import body_without_tokens, headers_without_tokens
from service.errors import BudgetSpent, UpstreamNonsense, UpstreamUnavailable
from service.tracking.gateway import OF_ENCODED, PLAIN_ANSWER, Gateway, Incoming, Outgoing

_LARGEST = 16_777_216  # bytes
_MAX_LIMIT = 100
_MOST_DIGITS = 12  # more make it larger than any maximum
_FROM_STORE = {"Cache-Status": "luma-tracker; hit; detail=upstream-down"}
_NOT_FOR_LISTS = (b"accept-encoding", b"if-none-match")
"""Request headers that are left out, because the list is read here."""


async def list_generations(
    request: Request, gateway: Gateway, upstream: str, target: str
) -> Response:
    """Return a page of Luma's list."""
    headers = [each for each in request.scope["headers"] if each[0] not in _NOT_FOR_LISTS]
    outgoing = Outgoing("GET", target, [*headers, PLAIN_ANSWER], total=gateway.timeout)
    try:
        async with asyncio.timeout(gateway.timeout):
            answer = await gateway.send(upstream, outgoing)
            is_down = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            body = b"" if is_down else await _read(upstream, answer)
    except BudgetSpent:  # Luma is up, and has more than the store
        raise
    except (UpstreamUnavailable, TimeoutError):
        return await _stored(request, gateway, upstream)
    if is_down:
        await answer.close()
        return await _stored(request, gateway, upstream)
    learned = answer.status == HTTPStatus.OK
    body = await gateway.learn(upstream, body) if learned else body_without_tokens(body)
    return _response(answer, body)


async def _read(upstream: str, answer: Incoming) -> bytes:
    try:
        return await answer.read(_LARGEST)
    except ValueError as error:
        raise UpstreamNonsense(upstream, f"{upstream} answered a list, but {error}.") from error


def _response(answer: Incoming, body: bytes) -> Response:
    response = Response(body, answer.status)
    kept = [header for header in answer.headers if header[0] not in OF_ENCODED]
    response.raw_headers = headers_without_tokens(kept) + response.raw_headers
    return response


async def _stored(request: Request, gateway: Gateway, upstream: str) -> Response:
    limit = _number(request, "limit", _MAX_LIMIT, _MAX_LIMIT)
    offset = _number(request, "offset", 0, 2**31)
    bodies, has_more = await gateway.stored_page(upstream, limit, offset)
    rest = b'"has_more":%s,"count":%d,"limit":%d,"offset":%d' % (
        b"true" if has_more else b"false",
        len(bodies),
        limit,
        offset,
    )
    body = b'{"generations":[%s],%s}' % (b",".join(bodies), rest)
    return Response(body, headers=_FROM_STORE, media_type="application/json")


def _number(request: Request, name: str, default: int, most: int) -> int:
    value = request.query_params.get(name, "")
    is_number = value.isascii() and value.isdigit()
    return min(int(value[:_MOST_DIGITS]), most) if is_number else default
