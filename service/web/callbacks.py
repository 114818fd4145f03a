"""Where Luma calls back.

Only an answer of exactly 200 counts for Luma, and it gives up within a second of refusals. So
the body is read as it stands, kept, folded and on disk before we answer, and nothing but the
token decides whether we take it.
"""

from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.datastructures import State
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from service.errors import Forbidden, TrackerError
from service.generation import Outcome
from service.metrics import REFUSALS
from service.tokens import CallbackTokens
from service.tracker import Tracker
from service.web.body import read_body
from service.web.problems import of_error, problem, responses
from service.web.whole import Whole, send_whole

PATH = "/callbacks/"
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
    PATH + "{token:path}",
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
async def receive(token: str, request: Request) -> Response:
    """The URL is the credential: `luma-tracker callback-url` prints one."""
    whole = await _answer(request.app.state, token, request.scope, request.receive)
    response = Response(whole.body, whole.status)
    response.raw_headers = whole.headers
    return response


class CallbackDoor:
    """Answers callbacks in front of all that concerns other requests alone, as the route would.

    What stands between costs more than the route itself, and lets callbacks pass anyway.

    Args:
        state: of the application.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take in a callback."""
        token = scope["path"].removeprefix(PATH)
        await send_whole(scope, send, await _answer(self._state, token, scope, receive))


async def _answer(state: State, token: str, scope: Scope, receive: Receive) -> Whole:
    tracker: Tracker = state.tracker
    tokens: CallbackTokens = state.tokens
    grant = tokens.grant(token)
    if grant is None:
        return _nothing_here("callback token")
    body = await read_body(scope, receive, MAX_BODY)
    if isinstance(body, Response):
        return Whole.of(body)
    try:
        receipt = await tracker.receive(body, grant)
    except Forbidden:
        return _nothing_here("callback token of another generation")
    except TrackerError as error:
        return Whole.of(of_error(error))
    if receipt.unreadable:
        return Whole.of(of_error(receipt.unreadable))
    return _ANSWERS[receipt.outcome]


def _nothing_here(reason: str) -> Whole:
    REFUSALS.labels(reason).inc()
    return Whole.of(problem(404, "There is nothing here."))


_ANSWERS = {outcome: Whole.of(JSONResponse({"outcome": outcome})) for outcome in Outcome}
