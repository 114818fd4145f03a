"""The public shape of a generation, the same bytes on every surface."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from service.generation import Generation, Outcome
from service.inbox import Delivery
from service.listing import Page
from service.observe import Receipt
from service.store import Event

_NO_ASSETS: dict[str, str | None] = {"video": None, "image": None, "progress_video": None}

EXAMPLE: dict[str, Any] = {
    "id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "upstream": "dream_machine",
    "state": "completed",
    "terminal": True,
    "generation_type": "video",
    "operation": "video",
    "model": "ray-2",
    "prompt": "an old lady laughing underwater, wearing a scuba diving suit",
    "created_at": "2026-05-30T12:34:56.236000Z",
    "failure_reason": None,
    "failure_code": None,
    "assets": {
        "video": "https://storage.cdn-luma.com/dream_machine/1f/result.mp4",
        "image": "https://storage.cdn-luma.com/dream_machine/1f/thumb.jpg",
        "progress_video": None,
    },
    "outputs": [],
    "request": {"generation_type": "video", "model": "ray-2", "callback_url": "[redacted]"},
    "parent_id": None,
    "rev": 3,
    "source": "callback",
    "verified": False,
    "gone_at": None,
    "first_seen_at": "2026-05-30T12:34:57.001000Z",
    "updated_at": "2026-05-30T12:35:41.730000Z",
    "finished_at": "2026-05-30T12:35:41.730000Z",
}


def _as_text(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


EVENT: dict[str, Any] = {
    "seq": 7,
    "generation_id": EXAMPLE["id"],
    "from_state": "dreaming",
    "to_state": "completed",
    "rev": 3,
    "source": "callback",
    "at": EXAMPLE["updated_at"],
    "delivery_id": "01a20377-e053-7be0-9c54-2f1f0d6b9a11",
}
_DELIVERY = {
    "id": EVENT["delivery_id"],
    "generation_id": EXAMPLE["id"],
    "received_at": EXAMPLE["updated_at"],
    "outcome": "applied",
    "error": None,
    "duplicates": 0,
    "handled_at": EXAMPLE["updated_at"],
}
_REPLAY = {
    "delivery_id": _DELIVERY["id"],
    "generation_id": EXAMPLE["id"],
    "outcome": "unchanged",
    "error": None,
}

Instant = Annotated[
    datetime,
    PlainSerializer(_as_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class GenerationOut(BaseModel):
    """One generation, as the tracker knows it."""

    model_config = ConfigDict(
        from_attributes=True, title="Generation", json_schema_extra={"examples": [EXAMPLE]}
    )

    id: str = Field(description="Luma's id of it.")
    upstream: str = Field(description="Whose it is: dream_machine or agents.")
    state: str = Field(
        description="queued, dreaming or processing, completed, failed; or what Luma says that "
        "we do not know yet; unknown if Luma has not told."
    )
    terminal: bool = Field(description="Whether the state is final.")
    generation_type: str | None = Field(description="video or image.")
    operation: str | None = Field(description="What was asked for: video, image, upscale_video …")
    model: str | None
    prompt: str | None
    created_at: Instant | None = Field(description="By Luma's clock.")
    failure_reason: str | None
    failure_code: str | None
    assets: dict[str, str | None] = Field(
        description="URLs: video, image (for a video, its thumbnail), progress_video."
    )
    outputs: list[dict[str, Any]] = Field(
        description="Agents API: all its outputs, as type, url and layer."
    )
    request: dict[str, Any] | None = Field(description="As Luma echoes it; no callback URL.")
    parent_id: str | None = Field(description="What it was made from, where that is known.")
    rev: int = Field(description="Rises by one on every real change.")
    source: str = Field(description="How we learnt of the last change.")
    verified: bool = Field(description="Whether Luma itself confirmed it; a callback is a claim.")
    gone_at: Instant | None = Field(description="When Luma no longer knew it.")
    first_seen_at: Instant
    updated_at: Instant = Field(description="When `rev` last rose.")
    finished_at: Instant | None = Field(description="When we learnt of the terminal state.")

    @classmethod
    def of(cls, generation: Generation) -> "GenerationOut":
        """The public shape of a row."""
        shown = cls.model_validate(generation)
        shown.assets = {**_NO_ASSETS, **shown.assets}
        return shown


class PageOut(BaseModel):
    """One page of generations."""

    items: list[GenerationOut]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page.")
    has_more: bool

    @classmethod
    def of(cls, page: Page) -> "PageOut":
        """The public shape of a page."""
        items = [GenerationOut.of(generation) for generation in page.items]
        return cls(items=items, next_cursor=page.next_cursor, has_more=bool(page.next_cursor))


class EventOut(BaseModel):
    """One change of one generation."""

    model_config = ConfigDict(
        from_attributes=True, title="Event", json_schema_extra={"examples": [EVENT]}
    )

    seq: int = Field(description="Rises over all changes of all generations.")
    generation_id: str
    from_state: str | None
    to_state: str
    rev: int
    source: str
    at: Instant
    delivery_id: str | None = Field(description="The callback that brought it.")


class EventsOut(BaseModel):
    """Changes, oldest first."""

    items: list[EventOut]
    next_cursor: str | None = Field(
        description="Pass as `cursor` for what came after; to `/v1/events` as `after`."
    )
    has_more: bool

    @classmethod
    def of(cls, events: list[Event], limit: int) -> "EventsOut":
        """A page of at most `limit`, out of up to one more that shows whether there is more."""
        items = [EventOut.model_validate(event) for event in events[:limit]]
        more = len(events) > limit
        return cls(items=items, next_cursor=str(items[-1].seq) if more else None, has_more=more)

    @classmethod
    def behind(cls, after: int, events: list[Event], limit: int) -> "EventsOut":
        """The same; but since more will come, even the last page says where to go on."""
        page = cls.of(events, limit)
        page.next_cursor = str(page.items[-1].seq if page.items else after)
        return page


class DeliveryOut(BaseModel):
    """One callback as it came."""

    model_config = ConfigDict(
        from_attributes=True, title="Delivery", json_schema_extra={"examples": [_DELIVERY]}
    )

    id: str
    generation_id: str | None
    received_at: Instant
    outcome: str = Field(description="What its first folding did; kept: not folded yet.")
    error: str | None = Field(description="Why it could not be folded.")
    duplicates: int = Field(description="How often the same bytes came again.")
    handled_at: Instant | None


class DeliveryWithBody(DeliveryOut):
    """One callback, with what it said."""

    model_config = ConfigDict(
        from_attributes=True,
        title="DeliveryWithBody",
        json_schema_extra={"examples": [_DELIVERY | {"body": {"id": EXAMPLE["id"]}}]},
    )

    body: Any = Field(None, description="Parsed if it is JSON, else text; no callback URL.")


class DeliveriesOut(BaseModel):
    """One page of the inbox, newest first."""

    items: list[DeliveryOut]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page.")
    has_more: bool

    @classmethod
    def of(cls, deliveries: list[Delivery], limit: int) -> "DeliveriesOut":
        """A page of at most `limit`, out of up to one more that shows whether there is more."""
        items = [DeliveryOut.model_validate(delivery) for delivery in deliveries[:limit]]
        more = len(deliveries) > limit
        return cls(items=items, next_cursor=items[-1].id if more else None, has_more=more)


class ReplayOut(BaseModel):
    """What folding a delivery again did."""

    model_config = ConfigDict(title="Replay", json_schema_extra={"examples": [_REPLAY]})

    delivery_id: str
    generation_id: str | None
    outcome: Outcome
    error: str | None = Field(description="Why it still cannot be folded.")

    @classmethod
    def of(cls, receipt: Receipt) -> "ReplayOut":
        """The public shape of a receipt."""
        return cls(
            delivery_id=receipt.delivery_id,
            generation_id=receipt.generation_id,
            outcome=receipt.outcome,
            error=str(receipt.unreadable) if receipt.unreadable else None,
        )


def one_line(value: str) -> str:
    """A text that others wrote, so that it can neither begin a line nor steer a terminal."""
    line = " ".join(value.split())
    if (
        line.isprintable()
    ):  # nearly all are, and this is much quicker than to look at each character
        return line
    return "".join(c if c.isprintable() else " " for c in line)


def body_of(generation: Generation) -> bytes:
    """The generation as JSON; a pure function of the row."""
    return GenerationOut.of(generation).model_dump_json().encode()


def etag_of(body: bytes) -> str:
    """A strong validator. Not `rev`: fresh presigned URLs are new bytes under the same rev."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
