"""What else is shown in public: pages, events, deliveries; `shape` has the generation itself."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from service.domain.generation import Outcome
from service.storage.deliveries import Delivery
from service.storage.events import Event
from service.storage.listing import Page
from service.storage.shape import EXAMPLE, GenerationOut, Instant
from service.tracking.observe import Receipt

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


class PageOut(BaseModel):
    """One page of generations."""

    items: list[GenerationOut]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page.")
    has_more: bool


def page_body(page: Page) -> bytes:
    """A `PageOut` as JSON."""
    items = b",".join([item.body for item in page.items])
    cursor, more = to_json(page.next_cursor), to_json(page.next_cursor is not None)
    return b'{"items":[%b],"next_cursor":%b,"has_more":%b}' % (items, cursor, more)


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
