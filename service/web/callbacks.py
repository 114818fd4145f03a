"""Where Luma calls back.

Only an answer of exactly 200 counts for Luma, and it gives up within a second of refusals. So
the body is read as it stands, kept, folded and on disk before we answer, and nothing but the
token decides whether we take it.
"""

import asyncio
import time
from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.datastructures import State
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from service.domain.generation import Outcome
from service.errors import Forbidden, TrackerError
from service.logs import log
from service.metrics import REFUSALS
from service.tracking.callback_tokens import CallbackTokens
from service.tracking.deliveries import Receipt
from service.tracking.tracker import Tracker
from service.web.fast_path import CALLBACKS
from service.web.guards.slow_log import note_slow
from service.web.problems import of_bug, of_error, problem, responses
from service.web.server.body import read_body
from service.web.server.fast_protocol import SendPrepared
from service.web.server.limits import MAX_BODY
from service.web.server.prepared import PreparedResponse, send_prepared

router = APIRouter(tags=["callbacks"])


class CallbackAnswer(BaseModel):
    """What the callback did."""

    outcome: Outcome = Field(
        description="applied; unchanged: told nothing new; stale: lost to a higher state; "
        "kept: is in the inbox and will be folded later.",
        examples=["applied"],
    )


@router.post(
    CALLBACKS + "{token:path}",
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


class CallbackReceiver:
    """Answers callbacks in front of all that concerns other requests alone, as the route would.

    What stands between costs more than the route itself, and lets callbacks pass anyway.

    Args:
        state: of the application.
        slow_after: seconds after which an answer is noted as slow.
    """

    def __init__(self, state: State, *, slow_after: float) -> None:
        self._state = state
        self._slow_after = slow_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take in a callback."""
        began = time.monotonic()
        whole = await _answer(self._state, _token(scope), scope, receive)
        note_slow(scope, whole.status, time.monotonic() - began, self._slow_after)
        await send_prepared(scope, send, whole)

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Take in a callback that has come whole, and answer when it is on disk."""
        grant = self._state.tokens.grant(_token(scope))
        if grant is None or len(body) > MAX_BODY:
            return False
        began = time.monotonic()

        def received(receiving: asyncio.Future[Receipt]) -> None:
            response = _response_to(receiving)
            note_slow(scope, response.status, time.monotonic() - began, self._slow_after)
            send(response)

        self._state.tracker.deliveries.receive(body, grant).add_done_callback(received)
        return True


def _token(scope: Scope) -> str:
    token: str = scope["path"].removeprefix(CALLBACKS)
    return token


async def _answer(state: State, token: str, scope: Scope, receive: Receive) -> PreparedResponse:
    tracker: Tracker = state.tracker
    tokens: CallbackTokens = state.tokens
    grant = tokens.grant(token)
    if grant is None:
        return _nothing_here("callback token")
    body = await read_body(scope, receive, MAX_BODY)
    if isinstance(body, Response):
        return PreparedResponse.of(body)
    receiving = tracker.deliveries.receive(body, grant)
    await asyncio.wait([receiving])
    return _response_to(receiving)


def _response_to(receiving: asyncio.Future[Receipt]) -> PreparedResponse:
    """What came of it."""
    try:
        receipt = receiving.result()
    except Forbidden:
        return _nothing_here("callback token of another generation")
    except TrackerError as error:
        return PreparedResponse.of(of_error(error))
    except Exception as error:  # noqa: BLE001 - a bug of ours is answered too
        log.error("callback_failed", exc_info=error)
        return PreparedResponse.of(of_bug(error))
    if receipt.unreadable:
        return PreparedResponse.of(of_error(receipt.unreadable))
    return _ANSWERS[receipt.outcome]


def _nothing_here(reason: str) -> PreparedResponse:
    REFUSALS.labels(reason).inc()
    return PreparedResponse.of(problem(404, "There is nothing here."))


_ANSWERS = {outcome: PreparedResponse.of(JSONResponse({"outcome": outcome})) for outcome in Outcome}
