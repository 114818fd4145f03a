"""Receives Luma's callbacks.

Luma accepts only status 200 as success, and after refusals it gives up within a second. So the
token alone decides whether a body is taken, whatever its content type. The response is sent after
the body is stored, folded and on disk.
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
from service.web.guards.slow_log import log_if_slow
from service.web.problems import of_bug, of_error, problem, responses
from service.web.server.body import read_body
from service.web.server.fast_protocol import SendPrepared
from service.web.server.limits import MAX_BODY
from service.web.server.prepared import PreparedResponse, send_prepared

router = APIRouter(tags=["callbacks"])


class CallbackAnswer(BaseModel):
    """The outcome of a callback."""

    outcome: Outcome = Field(
        description="applied; unchanged: nothing new; stale: lost to a higher state; "
        "kept: stored in the inbox, to be folded later.",
        examples=["applied"],
    )


@router.post(
    CALLBACKS + "{token:path}",
    summary="Receive a callback from Luma",
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
    """The URL is the credential. `luma-tracker callback-url` prints one."""
    prepared = await _answer(request.app.state, token, request.scope, request.receive)
    return prepared.as_response()


class CallbackReceiver:
    """Answers callbacks before the middleware, with the same bytes as the route.

    The middleware would let every callback pass, but costs more than the route itself.

    Args:
        state: of the application; has `tokens`, and `tracker` while the application runs.
        slow_after: seconds after which a request is logged as slow.
    """

    def __init__(self, state: State, *, slow_after: float) -> None:
        self._state = state
        self._slow_after = slow_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive a callback."""
        started = time.monotonic()
        response = await _answer(self._state, _token(scope), scope, receive)
        log_if_slow(scope, response.status, time.monotonic() - started, self._slow_after)
        await send_prepared(scope, send, response)

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Receive a complete callback without a task, and answer when it is on disk.

        Returns:
            False for a wrong token or a body that is too large; then call the application.
        """
        grant = self._state.tokens.grant(_token(scope))
        if grant is None or len(body) > MAX_BODY:
            return False
        started = time.monotonic()

        def received(receiving: asyncio.Future[Receipt]) -> None:
            response = _response_to(receiving)
            log_if_slow(scope, response.status, time.monotonic() - started, self._slow_after)
            send(response)

        self._state.tracker.deliveries.receive(body, grant).add_done_callback(received)
        return True


class CallbacksOnly:
    """The application of a socket that anyone may reach: callbacks, and 404 for all else.

    Args:
        receiver: receives the callbacks.
    """

    def __init__(self, receiver: CallbackReceiver) -> None:
        self._receiver = receiver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive a callback, or refuse the request."""
        if _is_callback(scope):
            await self._receiver(scope, receive, send)
        else:
            await send_prepared(scope, send, _not_found("path of the tunnel"))

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Receive a callback without a task, if possible; else call the application."""
        return _is_callback(scope) and self._receiver.respond(scope, body, send)


def _is_callback(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "POST" and path.startswith(CALLBACKS)


def _token(scope: Scope) -> str:
    token: str = scope["path"].removeprefix(CALLBACKS)
    return token


async def _answer(state: State, token: str, scope: Scope, receive: Receive) -> PreparedResponse:
    tracker: Tracker = state.tracker
    tokens: CallbackTokens = state.tokens
    grant = tokens.grant(token)
    if grant is None:
        return _not_found("callback token")
    body = await read_body(scope, receive, MAX_BODY)
    if isinstance(body, Response):
        return PreparedResponse.of(body)
    receiving = tracker.deliveries.receive(body, grant)
    await asyncio.wait([receiving])
    return _response_to(receiving)


def _response_to(receiving: asyncio.Future[Receipt]) -> PreparedResponse:
    """Build the response to a callback from its result."""
    try:
        receipt = receiving.result()
    except Forbidden:
        return _not_found("callback token of another generation")
    except TrackerError as error:
        return PreparedResponse.of(of_error(error))
    except Exception as error:  # noqa: BLE001 - the client needs an answer in any case
        log.error("callback_failed", exc_info=error)
        return PreparedResponse.of(of_bug(error))
    if receipt.unreadable:
        return PreparedResponse.of(of_error(receipt.unreadable))
    return _ANSWERS[receipt.outcome]


def _not_found(reason: str) -> PreparedResponse:
    REFUSALS.labels(reason).inc()
    return PreparedResponse.of(problem(404, "There is nothing at this path."))


_ANSWERS = {outcome: PreparedResponse.of(JSONResponse({"outcome": outcome})) for outcome in Outcome}
