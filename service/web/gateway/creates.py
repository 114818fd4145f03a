"""Creates: passed on to Luma at most once; a repeated one is answered like the first."""

from http import HTTPStatus

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from service.domain.submission import State, Submission
from service.tracking.gateway import CreateAnswer, CreateRequest, Gateway
from service.web.luma_errors import as_luma_error, luma_error
from service.web.server.body import read_body

LARGEST_CREATE = 33_554_432
"""Bytes of a create; the Agents API takes images inside it."""
_MADE_IN_PLACE = ("upscale", "audio")
"""Creates that Luma answers with 200 instead of 201."""
_UNKNOWN = (
    "Luma's answer to this create was lost, and its generation has not been found yet. "
    "Do not create it again: repeat this request later with the same Idempotency-Key."
)


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
    begun = await gateway.creates.begin(_create_request(request, upstream, path, caller, body))
    answer = await gateway.answer_of(begun.submission)
    if isinstance(answer, CreateAnswer):
        response = _response(answer.status, answer.body, dict(answer.headers))
    else:
        response = await _replayed(gateway, answer)
    response.headers["X-Submission-Id"] = begun.submission.id
    if not begun.is_first:
        response.headers["Idempotency-Replayed"] = "true"
    if not await request.is_disconnected():
        response.background = BackgroundTask(gateway.mark_delivered, begun.submission.id)
    return response


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


async def _replayed(gateway: Gateway, submission: Submission) -> Response:
    """Return the answer to an earlier create that this process does not send."""
    has_answer = submission.answer is not None and submission.status is not None
    was_refused = submission.state is State.REFUSED
    if has_answer and (was_refused or _is_success(submission.status)):
        headers = (submission.headers or {}).items()
        pairs = {name.encode("latin-1"): value.encode("latin-1") for name, value in headers}
        return _response(submission.status or 0, submission.answer or b"", pairs)
    if body := await gateway.created(submission):
        made_in_place = submission.path.endswith(_MADE_IN_PLACE)
        status = HTTPStatus.OK if made_in_place else HTTPStatus.CREATED
        return Response(body, status, media_type="application/json")
    return luma_error(HTTPStatus.GATEWAY_TIMEOUT, _UNKNOWN, {"x-should-retry": "false"})


def _is_success(status: int | None) -> bool:
    return status is not None and status < HTTPStatus.MULTIPLE_CHOICES


def _response(status: int, body: bytes, headers: dict[bytes, bytes]) -> Response:
    response = Response(body, status)
    response.raw_headers = [*headers.items(), *response.raw_headers]
    return response
