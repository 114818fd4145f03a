"""Lists: from Luma, whose answers teach the store; from the store while Luma is down."""

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from service.errors import UpstreamNonsense, UpstreamUnavailable
from service.tracking.gateway import OF_ENCODED, PLAIN_ANSWER, Gateway, Incoming, Outgoing
from service.web.gateway.passing import Passed

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
            if answer.status == HTTPStatus.OK:
                body = await _read(upstream, answer)
    except (UpstreamUnavailable, TimeoutError):
        return await _stored(request, gateway, upstream)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        await answer.close()
        return await _stored(request, gateway, upstream)
    if answer.status != HTTPStatus.OK:
        return Passed(answer)
    return await _learned(gateway, upstream, answer, body)


async def _read(upstream: str, answer: Incoming) -> bytes:
    try:
        return await answer.read(_LARGEST)
    except ValueError as error:
        raise UpstreamNonsense(upstream, f"{upstream} answered a list, but {error}.") from error


async def _learned(gateway: Gateway, upstream: str, answer: Incoming, body: bytes) -> Response:
    response = Response(await gateway.learn(upstream, body))
    length = response.raw_headers
    response.raw_headers = [h for h in answer.headers if h[0] not in OF_ENCODED] + length
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
