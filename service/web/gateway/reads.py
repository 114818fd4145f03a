"""Answers reads of one generation from the store, as Luma itself would answer them."""

from starlette.requests import Request
from starlette.responses import Response

from service.tracking.gateway import Gateway
from service.web.gateway.passing import pass_on
from service.web.responses.generation import luma_response_of


async def read(
    request: Request, gateway: Gateway, upstream: str, target: str, generation_id: str
) -> Response:
    """Return a stored generation; Luma is asked as `GET /v1/generations/{id}` asks it.

    An id that belongs to the other API is Luma's to answer.
    """
    fresh = "no-cache" in request.headers.get("cache-control", "").lower()
    answer = await gateway.lookup(upstream, generation_id, fresh=fresh)
    if answer is None:
        return await pass_on(request, gateway, upstream, target)
    return luma_response_of(answer).as_response()
