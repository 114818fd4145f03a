"""The event feed, all changes of all generations: as pages, by long polling, or as a stream."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response

from service.storage.listing import MAX_LIMIT
from service.tracking.history import EventBatch, History
from service.tracking.schemas import EVENT, EventOut, EventsOut
from service.web.guards.head import BODILESS
from service.web.guards.slow_log import WAIT_SECONDS
from service.web.parameters import Strict, TheTracker, WaitSeconds, preferred_wait
from service.web.problems import responses

HEARTBEAT = 15.0  # seconds; proxies close connections that are silent for longer
_RETRY = 1000  # milliseconds until a browser reconnects
_STREAM = "text/event-stream"
_MAX_SEQ = 2**63 - 1

router = APIRouter(prefix="/v1", tags=["generations"])

_Seq = Annotated[int, Field(ge=0, le=_MAX_SEQ)]


_Empty = Annotated[str, Field(max_length=0)]
_LastEventId = _Seq | _Empty | SkipJsonSchema[None]
"""A browser may send an empty id, which stands for none. A header cannot be null."""


class FeedParameters(Strict):
    """The query parameters of the event feed."""

    after: _Seq | Literal["now"] | None = Field(
        None, description="Return events after this `seq`; `now`: only future events."
    )
    limit: int = Field(
        100, ge=1, le=MAX_LIMIT, description="Events per page; ignored for a stream."
    )
    wait: WaitSeconds | None = Field(None, description="Seconds to wait if there is no event yet.")


def _stream_event(event: EventOut) -> bytes:
    return format_sse_event(id=str(event.seq), event="change", data_str=event.model_dump_json())


@router.get(
    "/events",
    summary="List or stream all changes",
    operation_id="listEvents",
    response_model=EventsOut,
    responses={
        **responses(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
        200: {
            "description": "A page, or as `text/event-stream` an endless stream.",
            "content": {
                _STREAM: {
                    "schema": {"type": "string"},
                    "example": _stream_event(EventOut.model_validate(EVENT)).decode(),
                }
            },
        },
    },
)
async def list_all_events(
    parameters: Annotated[FeedParameters, Query()],
    request: Request,
    tracker: TheTracker,
    last_event_id: Annotated[
        _LastEventId,
        Header(description="Like `after`, and takes precedence over it."),
    ] = None,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """Lists all changes of all generations in one order, the same on every instance.

    Without `after`, a page starts with the oldest event that is kept, a stream with the next event.
    """
    streaming = _STREAM in request.headers.get("accept", "").lower()
    after = last_event_id if isinstance(last_event_id, int) else parameters.after
    if after == "now" or (after is None and streaming):
        after = await tracker.history.newest()
    if streaming:
        return _stream(tracker.history, after or 0, endless=BODILESS not in request.scope)
    return await _page(tracker.history, after or 0, parameters, prefer, request)


async def _page(
    history: History, after: int, parameters: FeedParameters, prefer: str | None, request: Request
) -> Response:
    preferred = preferred_wait(prefer) if parameters.wait is None else None
    seconds, limit = parameters.wait or preferred or 0, parameters.limit
    if seconds:
        request.scope[WAIT_SECONDS] = seconds
        found = await history.wait(after, limit + 1, seconds)
    else:
        found = await history.after(after, limit + 1)
    page = EventsOut.behind(after, found.events, limit)
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if found.missed:
        headers["Missed-Before"] = str(found.events[0].seq)
    if preferred is not None:
        headers["Preference-Applied"] = f"wait={preferred}"
    if page.has_more:
        url = request.url.include_query_params(after=page.next_cursor)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return Response(page.model_dump_json(), media_type="application/json", headers=headers)


def _stream(history: History, after: int, *, endless: bool) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept", "X-Accel-Buffering": "no"}
    events = _events(history, after) if endless else _no_events()
    return EventSourceResponse(events, headers=headers)


async def _events(history: History, after: int) -> AsyncIterator[bytes]:
    # A client that is cut off before the first event resumes by this id, not with a new `now`.
    yield format_sse_event(id=str(after), retry=_RETRY)
    async for found in history.follow(after, HEARTBEAT):
        yield stream_chunk(found)


async def _no_events() -> AsyncIterator[bytes]:
    return
    yield b""


def stream_chunk(found: EventBatch) -> bytes:
    """Encode a batch of events for the stream; an empty batch is a heartbeat."""
    lines = [_stream_event(EventOut.model_validate(event)) for event in found.events]
    if found.missed:
        before = f'{{"before":{found.events[0].seq}}}'
        lines.insert(0, format_sse_event(event="missed", data_str=before))
    return b"".join(lines) or KEEPALIVE_COMMENT
