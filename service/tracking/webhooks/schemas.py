"""Response models for endpoints and attempts."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.storage.attempts import Attempt
from service.storage.outbox import CREATORS
from service.storage.shape import EXAMPLE, Instant
from service.storage.webhooks import Webhook
from service.tracking.webhooks.endpoints import CREATORS_ID

_WEBHOOK: dict[str, Any] = {
    "id": "01a20377-e053-7be0-9c54-2f1f0d6b9a22",
    "url": "https://hooks.example/luma",
    "states": ["completed", "failed"],
    "generation_id": None,
    "q": None,
    "enabled": True,
    "created_at": EXAMPLE["first_seen_at"],
}
_ATTEMPT: dict[str, Any] = {
    "id": "01a20377-e053-7be0-9c54-2f1f0d6b9a33",
    "generation_id": EXAMPLE["id"],
    "webhook_id": _WEBHOOK["id"],
    "at": EXAMPLE["updated_at"],
    "state": "completed",
    "status": 503,
    "error": "Answered 503.",
    "next_at": "2026-05-30T12:35:46.912000Z",
}


class WebhookOut(BaseModel):
    """An endpoint that receives changes of state."""

    model_config = ConfigDict(
        from_attributes=True, title="Webhook", json_schema_extra={"examples": [_WEBHOOK]}
    )

    id: str = Field(description="The id that the tracker gave the endpoint.")
    url: str = Field(description="Where messages are posted to.")
    states: list[str] | None = Field(description="The states that it receives; null: all.")
    generation_id: str | None = Field(description="The only generation it hears of; null: all.")
    q: str | None = Field(
        description="A query, such as `lake model:ray-2`, that a generation must match; null: all."
    )
    enabled: bool = Field(
        description="Whether it receives messages. An answer of 410 disables it; a test that is "
        "accepted enables it again."
    )
    created_at: Instant = Field(description="When it was added.")


class WebhooksOut(BaseModel):
    """All endpoints, oldest first."""

    items: list[WebhookOut] = Field(description="The endpoints, oldest first.")
    next_cursor: None = Field(None, description="Always null: all endpoints are on one page.")
    has_more: bool = Field(False, description="Always false.")

    @classmethod
    def of(cls, webhooks: list[Webhook]) -> "WebhooksOut":
        """Create the list."""
        return cls(items=[WebhookOut.model_validate(webhook) for webhook in webhooks])


class AttemptOut(BaseModel):
    """One attempt to send one message."""

    model_config = ConfigDict(
        from_attributes=True, title="Attempt", json_schema_extra={"examples": [_ATTEMPT]}
    )

    id: str = Field(description="The id of the attempt.")
    generation_id: str | None = Field(
        description="The generation that the message is about; null for a test."
    )
    webhook_id: str = Field(
        description="The endpoint; `creators` for the callback URL of a generation's creator."
    )
    at: Instant = Field(description="When the attempt began.")
    state: str = Field(description="The state that the message reports; `test` for a test.")
    status: int | None = Field(description="The HTTP status of the answer; null without one.")
    error: str | None = Field(description="What went wrong; null if the message was accepted.")
    next_at: Instant | None = Field(
        description="When the message is to be sent again; null: it was accepted or given up."
    )

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptOut":
        """Create the response from an attempt."""
        shown = cls.model_validate(attempt)
        shown.generation_id = attempt.generation_id or None
        if attempt.webhook_id == CREATORS:
            shown.webhook_id = CREATORS_ID
        return shown


class AttemptsOut(BaseModel):
    """One page of attempts, newest first."""

    items: list[AttemptOut] = Field(description="The attempts, newest first.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. It is null on the last page."
    )
    has_more: bool = Field(description="Whether there are older attempts after this page.")

    @classmethod
    def of(cls, attempts: list[Attempt], limit: int) -> "AttemptsOut":
        """Create a page.

        Args:
            attempts: up to `limit` + 1 attempts; the extra one shows that more follow.
            limit: the maximum number of attempts on the page.
        """
        items = [AttemptOut.of(attempt) for attempt in attempts[:limit]]
        more = len(attempts) > limit
        return cls(items=items, next_cursor=items[-1].id if more else None, has_more=more)
