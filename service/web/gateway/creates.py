"""Creates: passed on to Luma at most once; a repeated one is answered like the first."""

import asyncio
from http import HTTPStatus

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.tracking.creating.answer import CreateAnswer
from service.tracking.creating.refused import RefusedCreate
from service.tracking.gateway import CreateRequest, Gateway
from service.web.luma_errors import as_luma_error, luma_error
from service.web.server.body import read_body
from service.web.server.prepared import send_whole

SUBMISSION_ID = "X-Submission-Id"
LARGEST_CREATE = 33_554_432
"""Bytes of a create; the Agents API takes images inside it."""


async def create(
    request: Request, gateway: Gateway, upstream: str, path: str, caller: str
) -> Response:
    """Create a generation, or answer as the create that this one repeats was answered.

    Args:
        request: the request.
        gateway: sends it.
        upstream: the API.
        path: below its base URL.
        caller: digest of the caller's token; empty where no tokens are set.
    """
    body = await read_body(request.scope, request.receive, LARGEST_CREATE)
    if isinstance(body, Response):
        return as_luma_error(body)
    try:
        begun = await gateway.creates.begin(_create_request(request, upstream, path, caller, body))
    except RefusedCreate as error:
        headers = {SUBMISSION_ID: error.submission_id}
        return luma_error(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error} {error.hint}", headers)
    answer = await gateway.final_answer(begun.submission)
    response = _response(answer, is_first=begun.is_first)
    if answer.is_final and not await _has_left(request):
        response.background = BackgroundTask(gateway.creates.mark_delivered, begun.submission.id)
    return response


class _Answer(Response):
    """The answer to a create, sent in one piece if that is possible."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and run what comes after it."""
        background, self.background = self.background, None
        await send_whole(self, scope, receive, send)
        if background:
            await background()


async def _has_left(request: Request) -> bool:
    """Return whether the caller has disconnected, in a third of the time of `is_disconnected`."""
    try:
        async with asyncio.timeout(0):
            message = await request.receive()
    except TimeoutError:
        return False
    return bool(message["type"] == "http.disconnect")


def _create_request(
    request: Request, upstream: str, path: str, caller: str, body: bytes
) -> CreateRequest:
    retries = request.headers.get("x-stainless-retry-count", "")
    return CreateRequest(
        upstream=upstream,
        path=path,
        query=request.scope["query_string"].decode("latin-1"),
        headers=list(request.scope["headers"]),
        body=body,
        caller=caller,
        key=request.headers.get("idempotency-key"),
        is_retry=retries.isascii() and retries.isdigit() and int(retries) > 0,
        callback_url=request.headers.get("x-callback-url"),
    )


def _response(answer: CreateAnswer, *, is_first: bool) -> Response:
    response = _Answer(answer.body, answer.status)
    response.raw_headers = [*answer.headers, *response.raw_headers]
    response.headers[SUBMISSION_ID] = answer.submission_id
    if not is_first:
        response.headers["Idempotency-Replayed"] = "true"
    return response
