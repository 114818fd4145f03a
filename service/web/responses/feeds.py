"""Feeds over HTTP: lists that are streamed as CSV or NDJSON."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import TrackerError
from service.logs import log
from service.storage.listing import Listed
from service.storage.shape import EXAMPLE
from service.tracking.feeds import Feed, Format, csv_lines, csv_of, ndjson
from service.tracking.tracker import Tracker
from service.web.responses.lists import CLIENT_CLOSED_REQUEST, ListRequest, unless_disconnected
from service.web.responses.negotiation import MEDIA_TYPES

_EXAMPLES = [Listed(EXAMPLE["id"], EXAMPLE["rev"], to_json(EXAMPLE))]
_COLUMNS = ("id", "state", "assets.video")
DESCRIPTION: dict[str, Any] = {
    "description": "A page, or a feed of all items as CSV or NDJSON. A feed that was not closed "
    "by its last chunk is incomplete.",
    "content": {
        MEDIA_TYPES[Format.CSV]: {
            "schema": {"type": "string"},
            "example": (csv_lines([_COLUMNS]) + csv_of(_COLUMNS)(_EXAMPLES)).decode(),
        },
        MEDIA_TYPES[Format.NDJSON]: {
            "schema": {"type": "string"},
            "example": ndjson(_EXAMPLES).decode(),
        },
    },
}
"""The response for OpenAPI, besides the page as JSON."""


class FeedResponse(StreamingResponse):
    """A feed whose first page has been read, so that most errors have a response of their own."""

    def __init__(self, feed: Feed, lines: AsyncIterator[bytes], format_: Format) -> None:
        headers = {
            "Cache-Control": "no-cache",
            "Content-Disposition": f'attachment; filename="generations.{format_}"',
            "Vary": "Accept",
            "X-Accel-Buffering": "no",  # nginx would store what its client does not read yet
        }
        super().__init__(lines, headers=headers, media_type=MEDIA_TYPES[format_])
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or nothing more if the client disconnects.

        If a page cannot be read, or the service stops, the last chunk is not sent: the server
        closes the connection, and the client can tell that the feed is incomplete.
        """
        try:
            await super().__call__(scope, receive, send)
        except TrackerError as error:
            self._log_end(str(error))
        except asyncio.CancelledError:  # by uvicorn, which would log it as an error of ours
            self._log_end("The service stops.")

    def _log_end(self, reason: str) -> None:
        log.warning("feed_broken_off", rows=self._feed.rows, reason=reason)


async def answer(
    tracker: Tracker, request: ListRequest, format_: Format, receive: Receive, *, whole: bool
) -> Response:
    """Return a feed.

    Args:
        tracker: whose generations are read.
        request: the valid request.
        format_: CSV or NDJSON.
        receive: tells when the client disconnects.
        whole: False to read the first page only: for HEAD.

    Raises:
        InvalidInput: the cursor is not valid, or belongs to another order.
        StoreUnavailable: the database did not answer.
    """
    feed = Feed(tracker, request.query, format_, request.limit)
    lines = feed.lines()
    first = await unless_disconnected(_next(lines), receive)
    if first is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return FeedResponse(feed, _chain(first, lines, whole=whole), format_)


async def _next(lines: AsyncIterator[bytes]) -> bytes:
    return await anext(lines)


async def _chain(
    first: bytes, lines: AsyncGenerator[bytes], *, whole: bool
) -> AsyncGenerator[bytes]:
    async with aclosing(lines):
        yield first
        while whole and (more := await anext(lines, None)) is not None:
            yield more
