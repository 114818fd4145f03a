"""Routes of the endpoints that changes of state are sent to, and of the attempts to send."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from service.domain.generation import ID_PATTERN, KnownState
from service.domain.query import LONGEST
from service.tracking.webhooks.endpoints import NewWebhook
from service.tracking.webhooks.schemas import AttemptOut, AttemptsOut, WebhookOut, WebhooksOut
from service.web.parameters import AttemptParameters, Strict, TheTracker
from service.web.problems import responses

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_UNAVAILABLE = responses(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)
_PROBLEMS = responses(HTTPStatus.NOT_FOUND) | _UNAVAILABLE
_NoParameters = Annotated[Strict, Query()]


class WebhookIn(Strict):
    """An endpoint to add."""

    model_config = ConfigDict(
        title="NewWebhook",
        json_schema_extra={
            "examples": [{"url": "https://hooks.example/luma", "states": ["completed", "failed"]}]
        },
    )

    url: str = Field(description="Where to post messages: http or https, at a public address.")
    states: list[KnownState] | None = Field(
        None,
        min_length=1,
        description="Only these states. Default: all, also those that the tracker does not know.",
    )
    generation_id: str | None = Field(
        None, pattern=f"^{ID_PATTERN}$", description="Only this generation."
    )
    q: str | None = Field(
        None,
        description="Only generations that match this query, such as `lake model:ray-2`: the "
        "language of `q` in lists.",
        # not checked here: the errors of the query say where
        json_schema_extra={"maxLength": LONGEST, "pattern": r"^[^\x00]*$"},
    )


@router.get("", summary="List webhooks", operation_id="listWebhooks", responses=_UNAVAILABLE)
async def list_webhooks(_parameters: _NoParameters, tracker: TheTracker) -> WebhooksOut:
    """Lists the endpoints that changes of state are sent to, oldest first."""
    return WebhooksOut.of(await tracker.webhooks.every())


@router.post(
    "",
    summary="Add a webhook",
    operation_id="addWebhook",
    status_code=HTTPStatus.CREATED,
    responses=responses(HTTPStatus.BAD_REQUEST) | _UNAVAILABLE,
)
async def add_webhook(
    wanted: WebhookIn, _parameters: _NoParameters, tracker: TheTracker
) -> WebhookOut:
    """Adds an endpoint. From now on, each change of state that it wants is posted to it."""
    return WebhookOut.model_validate(await tracker.webhooks.add(NewWebhook(**dict(wanted))))


@router.get(
    "/{webhook_id}", summary="Get a webhook", operation_id="getWebhook", responses=_PROBLEMS
)
async def get_webhook(
    webhook_id: str, _parameters: _NoParameters, tracker: TheTracker
) -> WebhookOut:
    """Returns an endpoint."""
    return WebhookOut.model_validate(await tracker.webhooks.get(webhook_id))


@router.delete(
    "/{webhook_id}",
    summary="Delete a webhook",
    operation_id="deleteWebhook",
    status_code=HTTPStatus.NO_CONTENT,
    responses=_PROBLEMS,
)
async def delete_webhook(webhook_id: str, _parameters: _NoParameters, tracker: TheTracker) -> None:
    """Deletes an endpoint. What was not delivered to it yet is dropped."""
    await tracker.webhooks.remove(webhook_id)


@router.post(
    "/{webhook_id}/test",
    summary="Send a test message",
    operation_id="testWebhook",
    responses=_PROBLEMS,
)
async def send_test(webhook_id: str, _parameters: _NoParameters, tracker: TheTracker) -> AttemptOut:
    """Sends a message of the type `webhook.test` once, now, and returns the attempt."""
    return AttemptOut.of(await tracker.webhooks.test(webhook_id))


@router.get(
    "/{webhook_id}/attempts",
    summary="List attempts to send",
    operation_id="listAttempts",
    responses=_PROBLEMS,
)
async def list_attempts(
    webhook_id: str, parameters: Annotated[AttemptParameters, Query()], tracker: TheTracker
) -> AttemptsOut:
    """Lists every attempt to send to the endpoint, newest first.

    `creators` as the id lists the attempts to send to the callback URLs of creators.
    """
    found = await tracker.webhooks.attempts(
        webhook_id, before=parameters.cursor, limit=parameters.limit + 1
    )
    return AttemptsOut.of(found, parameters.limit)


@router.post(
    "/{webhook_id}/attempts/{attempt_id}/replay",
    summary="Send a message again",
    operation_id="replayAttempt",
    responses=_PROBLEMS,
)
async def replay_attempt(
    webhook_id: str, attempt_id: str, _parameters: _NoParameters, tracker: TheTracker
) -> AttemptOut:
    """Sends the message of an attempt again, now, with its `webhook-id`; returns the new attempt.

    If it fails, it is retried like a new message.
    """
    return AttemptOut.of(await tracker.webhooks.replay(webhook_id, attempt_id))
