"""Lists over HTTP, whichever way the question came in: what may be asked, and the answer."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, Field, ValidationError
from starlette.types import Receive

from service.storage import listing
from service.tracking.schemas import page_body
from service.tracking.tracker import Tracker
from service.web.parameters import Strict
from service.web.server.prepared import PreparedResponse

T = TypeVar("T")

PATH = "/v1/generations"
_REVALIDATE = (b"cache-control", b"no-cache")
_JSON = (b"content-type", b"application/json")
_SOON = 0.05  # seconds; what is found by then, nobody has to be watched for
_CLOSED = 499
"""What is answered to who has gone, so by nobody seen: nginx's own code for it."""


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


_Values = Annotated[list[str], Field(max_length=listing.MOST_VALUES)]
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
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in self}
        return listing.Query(**given)


class Asked(NamedTuple):
    """A list that may be asked for, and the address of its next page but for the cursor."""

    query: listing.Query
    next_page: str


def asked(parameters: ListParameters, query_string: bytes) -> Asked:
    """What a request asks for."""
    given = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in given if name != "cursor"]
    return Asked(parameters.query(), f"{PATH}?{urlencode([*kept, ('cursor', '')])}")


@lru_cache(256)  # dashboards ask the same again and again, and to validate costs as much as to find
def plainly_asked(query_string: bytes) -> Asked | None:
    """The same without the framework; None for what the framework has to judge."""
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        given.setdefault(name, []).append(value)
    many = {name for name, field in ListParameters.model_fields.items() if field.default == []}
    if any(len(values) > 1 for name, values in given.items() if name not in many):
        return None
    flat = {name: values if name in many else values[0] for name, values in given.items()}
    try:
        return asked(ListParameters.model_validate(flat), query_string)
    except ValidationError:
        return None


async def answer(tracker: Tracker, asked: Asked, receive: Receive) -> PreparedResponse:
    """The page; the search for it ends when who asked has gone.

    Raises:
        InvalidInput: the cursor is not one of ours, or of another order.
        StoreUnavailable: the database did not answer.
    """
    page = await unless_gone(tracker.page(asked.query), receive)
    if page is None:
        return PreparedResponse(_CLOSED, [], b"")
    body = page_body(page)
    headers = [_REVALIDATE, (b"content-length", b"%d" % len(body)), _JSON]
    if page.next_cursor:
        headers.append((b"link", f'<{asked.next_page}{page.next_cursor}>; rel="next"'.encode()))
    return PreparedResponse(200, headers, body)


async def unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """What `work` returns; None if who asked has gone, which ends the work."""
    working = asyncio.create_task(work)
    done, _ = await asyncio.wait([working], timeout=_SOON)
    return working.result() if done else await _first_of(working, receive)


async def _first_of(working: asyncio.Task[T], receive: Receive) -> T | None:
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
