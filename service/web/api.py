"""The REST API under /v1."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from service import listing
from service.schemas import EventsOut, PageOut, page_body
from service.shape import GenerationOut
from service.web.deps import Strict, TheTracker, WaitSeconds, preferred_wait
from service.web.problems import responses
from service.web.shown import response_of
from service.web.slow import ASKED_TO_WAIT

router = APIRouter(prefix="/v1", tags=["generations"])

_READ_PROBLEMS = responses(
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class GetParameters(Strict):
    """How to look a generation up."""

    wait: WaitSeconds | None = Field(None, description="Seconds to wait for a terminal state.")
    fresh: bool = Field(False, description="Ask Luma first.")


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


_Values = Annotated[list[str], Field(max_length=listing.MOST_VALUES)]
_GenerationId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
_InUtc = Annotated[datetime, AfterValidator(_utc)]


class ListParameters(Strict):
    """Which generations to list."""

    id: _Values = Field([], description="Repeatable, as the filters below.")
    state: _Values = Field([])
    upstream: _Values = Field([])
    generation_type: _Values = Field([])
    operation: _Values = Field([])
    model: _Values = Field([])
    q: str | None = Field(
        None, max_length=500, pattern=r"^[^\x00]*$", description="Words of prompt, id or failure."
    )
    created_after: _InUtc | None = None
    created_before: _InUtc | None = None
    gone: bool = Field(False, description="Include those that Luma no longer knows.")
    sort: listing.Sort = listing.Sort.CREATED_DOWN
    limit: int = Field(50, ge=1, le=listing.MAX_LIMIT)
    cursor: str | None = Field(
        None, max_length=1000, description="`next_cursor` of the page before."
    )

    def query(self) -> listing.Query:
        """The same, as the tracker takes it."""
        return listing.Query(
            id=tuple(self.id),
            state=tuple(self.state),
            upstream=tuple(self.upstream),
            generation_type=tuple(self.generation_type),
            operation=tuple(self.operation),
            model=tuple(self.model),
            q=self.q,
            created_after=self.created_after,
            created_before=self.created_before,
            gone=self.gone,
            sort=self.sort,
            limit=self.limit,
            cursor=self.cursor,
        )


class EventParameters(Strict):
    """Which part of the history."""

    limit: int = Field(100, ge=1, le=listing.MAX_LIMIT)
    cursor: int = Field(0, ge=0, le=2**63 - 1, description="`next_cursor` of the page before.")


@router.get(
    "/generations/{generation_id}",
    summary="Look a generation up",
    operation_id="getGeneration",
    response_model=GenerationOut,
    responses={**_READ_PROBLEMS, 304: {"description": "You have this already."}},
)
async def get_generation(
    generation_id: _GenerationId,
    parameters: Annotated[GetParameters, Query()],
    request: Request,
    tracker: TheTracker,
    if_none_match: Annotated[str | None, Header()] = None,
    cache_control: Annotated[str | None, Header()] = None,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """From the store; Luma is asked once if the generation is unknown, or on `fresh`.

    `Age` says how many seconds ago Luma last told us, `Cache-Status` where the answer is from.
    """
    fresh = parameters.fresh or "no-cache" in (cache_control or "").lower()
    preferred = preferred_wait(prefer) if parameters.wait is None else None
    seconds = parameters.wait or preferred or 0
    if seconds:
        request.scope[ASKED_TO_WAIT] = seconds
        answer = await tracker.wait(generation_id, seconds, fresh=fresh)
    else:
        answer = await tracker.lookup(generation_id, fresh=fresh)
    status, headers, body = response_of(answer, if_none_match)
    response = Response(body, status)
    response.raw_headers = headers
    if preferred is not None:
        response.headers["Preference-Applied"] = f"wait={preferred}"
    return response


@router.get(
    "/generations",
    summary="List generations",
    operation_id="listGenerations",
    response_model=PageOut,
    responses=responses(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_generations(
    parameters: Annotated[ListParameters, Query()], request: Request, tracker: TheTracker
) -> Response:
    """What is stored, newest first; costs no request to Luma."""
    page = await tracker.page(parameters.query())
    headers = {"Cache-Control": "no-cache"}
    if page.next_cursor:
        url = request.url.include_query_params(cursor=page.next_cursor)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return Response(page_body(page), media_type="application/json", headers=headers)


@router.get(
    "/generations/{generation_id}/events",
    summary="The history of a generation",
    operation_id="listGenerationEvents",
    response_model=EventsOut,
    responses=responses(
        HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def list_events(
    generation_id: _GenerationId,
    parameters: Annotated[EventParameters, Query()],
    tracker: TheTracker,
) -> EventsOut:
    """Every change, oldest first."""
    limit = parameters.limit
    events = await tracker.events(generation_id, after=parameters.cursor, limit=limit + 1)
    return EventsOut.of(events, limit)
