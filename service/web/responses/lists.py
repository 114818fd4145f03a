"""Lists over HTTP, for the route and for the fast path: their parameters and their responses."""

import asyncio
from collections.abc import Coroutine
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, Field, PlainValidator, ValidationError
from starlette.types import Receive

from service.domain.query import LONGEST, parse
from service.domain.times import FORMS, Moment, parse_moment
from service.errors import InvalidQuery
from service.storage import listing
from service.storage.fields import FIELDS_PATTERN, parse_fields
from service.tracking.feeds import Format
from service.tracking.schemas import page_body
from service.tracking.tracker import Tracker
from service.web.parameters import Strict
from service.web.server.prepared import PreparedResponse

T = TypeVar("T")

PATH = "/v1/generations"
_REVALIDATE = (b"cache-control", b"no-cache")
_JSON = (b"content-type", b"application/json")
_VARY = (b"vary", b"Accept")
_UNWATCHED = 0.05  # seconds; the client is watched only if the page takes longer
CLIENT_CLOSED_REQUEST = 499
"""The status if the client has disconnected, which nobody receives; nginx's own code."""


def _checked(fields: str | None) -> str | None:
    if fields is not None:
        parse_fields(fields)
    return fields


_FORMS = f"{FORMS[0].upper()}{FORMS[1:]}."
_Values = Annotated[list[str], Field(max_length=listing.MAX_VALUES)]
_Before = Annotated[str, Field(pattern=r"^-[0-9]{1,4}[smhdw]$")]
_Moment = Annotated[
    Moment, PlainValidator(parse_moment, json_schema_input_type=datetime | date | _Before)
]


class ListParameters(Strict):
    """The query parameters of a list of generations."""

    id: _Values = Field([], description="Repeatable, like the filters below.")
    state: _Values = Field([])
    upstream: _Values = Field([])
    generation_type: _Values = Field([])
    operation: _Values = Field([])
    model: _Values = Field([])
    q: str | None = Field(
        None,
        description="A query: words in prompt, id or failure, and terms such as `state:failed`.",
        examples=["lake -is:open after:-7d"],
        # not checked here: the errors of the query say where
        json_schema_extra={"maxLength": LONGEST, "pattern": r"^[^\x00]*$"},
    )
    created_after: _Moment | None = Field(None, description=_FORMS, examples=["-24h"])
    created_before: _Moment | None = Field(None, description=_FORMS, examples=["2026-05-30"])
    gone: bool = Field(False, description="Include generations that Luma no longer knows.")
    sort: listing.Sort = listing.Sort.CREATED_DOWN
    limit: int = Field(
        50,
        ge=1,
        le=listing.MAX_LIMIT,
        description="Items per page. CSV and NDJSON have all, unless you give a limit.",
    )
    cursor: str | None = Field(
        None, max_length=1000, description="`next_cursor` of the previous page."
    )
    fields: Annotated[str | None, AfterValidator(_checked)] = Field(
        None,
        max_length=1000,
        description="The only fields to include, comma-separated: `id,state,assets.video`.",
        json_schema_extra={"pattern": FIELDS_PATTERN},
    )
    format: Format | None = Field(None, description="Takes precedence over `Accept`.")

    def query(self) -> listing.Query:
        """Return the parameters as the tracker takes them.

        Raises:
            InvalidQuery: `q` does not parse.
        """
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in self}
        del given["format"]
        given["fields"] = parse_fields(self.fields) if self.fields else ()
        return listing.Query(**{**given, "q": parse(self.q or "")})


class ListRequest(NamedTuple):
    """A valid request for a list."""

    query: listing.Query
    next_page: str
    """The URL of the next page, up to the cursor."""
    format: Format | None
    """The format that the query string demands."""
    limit: int | None
    """The limit that the query string gives."""


def list_request(parameters: ListParameters, query_string: bytes) -> ListRequest:
    """Build the request from its validated parameters."""
    given = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in given if name != "cursor"]
    next_page = f"{PATH}?{urlencode([*kept, ('cursor', '')])}"
    limit = parameters.limit if "limit" in parameters.model_fields_set else None
    return ListRequest(parameters.query(), next_page, parameters.format, limit)


@lru_cache(256)  # dashboards repeat their requests, and validating costs as much as searching
def parse_request(query_string: bytes) -> ListRequest | None:
    """Validate a query string without the framework; None if the framework must answer it."""
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        given.setdefault(name, []).append(value)
    many = {name for name, field in ListParameters.model_fields.items() if field.default == []}
    if any(len(values) > 1 for name, values in given.items() if name not in many):
        return None
    flat = {name: values if name in many else values[0] for name, values in given.items()}
    try:
        return list_request(ListParameters.model_validate(flat), query_string)
    except (ValidationError, InvalidQuery):
        return None


async def answer(tracker: Tracker, request: ListRequest, receive: Receive) -> PreparedResponse:
    """Return a page. If the client disconnects, end the search.

    Raises:
        InvalidInput: the cursor is not valid, or belongs to another order.
        StoreUnavailable: the database did not answer.
    """
    page = await unless_disconnected(tracker.page(request.query), receive)
    if page is None:
        return PreparedResponse(CLIENT_CLOSED_REQUEST, [], b"")
    body = page_body(page)
    headers = [_REVALIDATE, (b"content-length", b"%d" % len(body)), _JSON, _VARY]
    if page.next_cursor:
        headers.append((b"link", f'<{request.next_page}{page.next_cursor}>; rel="next"'.encode()))
    return PreparedResponse(200, headers, body)


async def unless_disconnected(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """Return the result of `work`; if the client disconnects first, cancel it and return None."""
    working = asyncio.create_task(work)
    done, _ = await asyncio.wait([working], timeout=_UNWATCHED)
    return working.result() if done else await _first_of(working, receive)


async def _first_of(working: asyncio.Task[T], receive: Receive) -> T | None:
    disconnecting = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, disconnecting):
            task.cancel()
        await asyncio.gather(working, disconnecting, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
