"""Routes of generations: lookup, list, and history."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field
from starlette.responses import Response

from service.storage import listing
from service.storage.shape import GenerationOut
from service.tracking.feeds import Format
from service.tracking.schemas import EventsOut, PageOut
from service.web.guards.head import BODILESS
from service.web.guards.slow_log import WAIT_SECONDS
from service.web.parameters import GenerationId, Strict, TheTracker, WaitSeconds, preferred_wait
from service.web.problems import responses
from service.web.responses import feeds, lists
from service.web.responses.generation import response_of
from service.web.responses.negotiation import format_of

router = APIRouter(prefix="/v1", tags=["generations"])

_READ_PROBLEMS = responses(
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class GetParameters(Strict):
    """The query parameters of a lookup."""

    wait: WaitSeconds | None = Field(None, description="Seconds to wait for a terminal state.")
    fresh: bool = Field(False, description="Ask Luma before answering.")


class EventParameters(Strict):
    """The query parameters of a history."""

    limit: int = Field(100, ge=1, le=listing.MAX_LIMIT)
    cursor: int = Field(0, ge=0, le=2**63 - 1, description="`next_cursor` of the previous page.")


@router.get(
    "/generations/{generation_id}",
    summary="Look up a generation",
    operation_id="getGeneration",
    response_model=GenerationOut,
    responses={**_READ_PROBLEMS, 304: {"description": "Not modified: your copy is current."}},
)
async def get_generation(
    generation_id: GenerationId,
    parameters: Annotated[GetParameters, Query()],
    request: Request,
    tracker: TheTracker,
    if_none_match: Annotated[str | None, Header()] = None,
    cache_control: Annotated[str | None, Header()] = None,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """Answers from the store. Luma is asked if the generation is unknown, or with `fresh`.

    `Age` is the number of seconds since Luma last reported the generation. `Cache-Status` says
    whether the answer comes from the store.
    """
    fresh = parameters.fresh or "no-cache" in (cache_control or "").lower()
    preferred = preferred_wait(prefer) if parameters.wait is None else None
    seconds = parameters.wait or preferred or 0
    if seconds:
        request.scope[WAIT_SECONDS] = seconds
        answer = await tracker.wait(generation_id, seconds, fresh=fresh)
    else:
        answer = await tracker.lookup(generation_id, fresh=fresh)
    response = response_of(answer, if_none_match).as_response()
    if preferred is not None:
        response.headers["Preference-Applied"] = f"wait={preferred}"
    return response


@router.post(
    "/generations/{generation_id}/refresh",
    summary="Ask Luma about a generation",
    operation_id="refreshGeneration",
    response_model=GenerationOut,
    responses=_READ_PROBLEMS,
)
async def refresh_generation(
    generation_id: GenerationId, _parameters: Annotated[Strict, Query()], tracker: TheTracker
) -> Response:
    """Asks Luma now, and answers like a lookup with `fresh`.

    If Luma cannot be asked, a stored generation is answered as it is; `Age` says how old that is.
    """
    return response_of(await tracker.lookup(generation_id, fresh=True), None).as_response()


@router.get(
    "/generations",
    summary="List generations",
    operation_id="listGenerations",
    response_model=PageOut,
    responses={
        **responses(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
        200: feeds.DESCRIPTION,
    },
)
async def list_generations(
    parameters: Annotated[lists.ListParameters, Query()],
    request: Request,
    tracker: TheTracker,
) -> Response:
    """Lists what is stored, newest first. Costs no request to Luma.

    As CSV or NDJSON, the whole list is streamed: no `next_cursor`, and no limit unless you give it.
    """
    list_request = lists.list_request(parameters, request.scope["query_string"])
    format_ = list_request.format or format_of(", ".join(request.headers.getlist("accept")))
    if format_ is Format.JSON:
        return (await lists.answer(tracker, list_request, request.receive)).as_response()
    whole = BODILESS not in request.scope
    return await feeds.answer(tracker, list_request, format_, request.receive, whole=whole)


@router.get(
    "/generations/{generation_id}/events",
    summary="List the history of a generation",
    operation_id="listGenerationEvents",
    response_model=EventsOut,
    responses=responses(
        HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def list_events(
    generation_id: GenerationId,
    parameters: Annotated[EventParameters, Query()],
    tracker: TheTracker,
) -> EventsOut:
    """Lists every recorded change of the generation, oldest first."""
    limit = parameters.limit
    events = await tracker.events(generation_id, after=parameters.cursor, limit=limit + 1)
    return EventsOut.of(events, limit)
