"""Where Luma calls back.

Only an answer of exactly 200 counts for Luma, and it gives up within a second of refusals. So
the body is read as it stands, kept, folded and on disk before we answer, and nothing but the
token decides whether we take it.
"""

from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.errors import Forbidden
from service.generation import Outcome
from service.metrics import REFUSALS
from service.web.body import read_body
from service.web.deps import TheTokens, TheTracker
from service.web.problems import of_error, problem, responses

MAX_BODY = 1024 * 1024  # bytes

router = APIRouter(tags=["callbacks"])


class CallbackAnswer(BaseModel):
    """What the callback did."""

    outcome: Outcome = Field(
        description="applied; unchanged: told nothing new; stale: lost to a higher state; "
        "kept: is in the inbox and will be folded later.",
        examples=["applied"],
    )


@router.post(
    "/callbacks/{token:path}",
    summary="Take in a callback from Luma",
    operation_id="receiveCallback",
    response_model=CallbackAnswer,
    responses=responses(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    openapi_extra={
        "requestBody": {
            "description": "A generation object, of any content type, up to 1 MiB.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
async def receive(
    token: str, request: Request, tracker: TheTracker, tokens: TheTokens
) -> CallbackAnswer | Response:
    """The URL is the credential: `luma-tracker callback-url` prints one."""
    grant = tokens.grant(token)
    if grant is None:
        return _nothing_here("callback token")
    body = await read_body(request, MAX_BODY)
    if isinstance(body, Response):
        return body
    try:
        receipt = await tracker.receive(body, grant)
    except Forbidden:
        return _nothing_here("callback token of another generation")
    if receipt.unreadable:
        return of_error(receipt.unreadable)
    return CallbackAnswer(outcome=receipt.outcome)


def _nothing_here(reason: str) -> Response:
    REFUSALS.labels(reason).inc()
    return problem(404, "There is nothing here.")
