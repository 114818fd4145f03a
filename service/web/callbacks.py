"""Where Luma calls back.

Only an answer of exactly 200 counts for Luma, and it gives up within a second of refusals. So
the body is read as it stands, kept, folded and on disk before we answer, and nothing but the
token decides whether we take it.
"""

from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.generation import Outcome
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
    "/callbacks/{token}",
    summary="Take in a callback from Luma",
    operation_id="receiveCallback",
    response_model=CallbackAnswer,
    responses=responses(
        HTTPStatus.NOT_FOUND,
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
    if not tokens.accepts(token):
        return problem(404, "There is nothing here.")
    body = await _read(request)
    if body is None:
        return problem(413, f"A callback may have {MAX_BODY} bytes at most.")
    receipt = await tracker.receive(body)
    if receipt.unreadable:
        return of_error(receipt.unreadable)
    return CallbackAnswer(outcome=receipt.outcome)


async def _read(request: Request) -> bytes | None:
    """The body, or None as soon as it turns out to be too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)
