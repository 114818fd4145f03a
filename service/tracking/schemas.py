"""Response models for pages, events and deliveries; `storage.shape` has the generation's."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from service.domain.generation import Outcome
from service.storage.deliveries import Delivery
from service.storage.events import Event
from service.storage.listing import Page
from service.storage.shape import EXAMPLE, GenerationOut, Instant
from service.tracking.callbacks import Receipt

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

    items: list[GenerationOut] = Field(description="The generations, in the requested order.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. It is null on the last page."
    )
    has_more: bool = Field(description="Whether there are more generations after this page.")


def page_body(page: Page) -> bytes:
    """Serialize a page as a `PageOut`, from the prepared bodies of its generations."""
    items = b",".join([item.body for item in page.items])
    cursor, more = to_json(page.next_cursor), to_json(page.next_cursor is not None)
    return b'{"items":[%b],"next_cursor":%b,"has_more":%b}' % (items, cursor, more)


class EventOut(BaseModel):
    """One change of one generation."""

    model_config = ConfigDict(
        from_attributes=True, title="Event", json_schema_extra={"examples": [EVENT]}
    )

    seq: int = Field(
        description="The position of the event among the events of all generations. It increases "
        "with every event, possibly with gaps."
    )
    generation_id: str = Field(description="The generation that changed.")
    from_state: str | None = Field(
        description="The state before the change. It is null for the first event of a generation."
    )
    to_state: str = Field(
        description="The state after the change. It equals `from_state` if other fields changed."
    )
    rev: int = Field(description="The generation's `rev` after the change.")
    source: str = Field(
        description="How the change was reported: `submit` (by the answer to a create), `callback` "
        "(by a callback), `fetch` (by the answer to a lookup), `reconcile` (by the answer to a "
        "background check) or `backfill` (in Luma's list)."
    )
    at: Instant = Field(description="When the change was recorded.")
    delivery_id: str | None = Field(
        description="The delivery that reported the change. It is null if `source` is not "
        "`callback`."
    )


class EventsOut(BaseModel):
    """One page of events, oldest first."""

    items: list[EventOut] = Field(description="The events, oldest first.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the events that follow; in requests to "
        "`/v1/events` pass it as `after`."
    )
    has_more: bool = Field(description="Whether more events follow now.")

    @classmethod
    def of(cls, events: list[Event], limit: int) -> "EventsOut":
        """Create a page.

        Args:
            events: up to `limit` + 1 events; the extra one shows that more follow.
            limit: the maximum number of events on the page.
        """
        items = [EventOut.model_validate(event) for event in events[:limit]]
        more = len(events) > limit
        return cls(items=items, next_cursor=str(items[-1].seq) if more else None, has_more=more)

    @classmethod
    def behind(cls, after: int, events: list[Event], limit: int) -> "EventsOut":
        """Create a page whose `next_cursor` is always set, because more events may be recorded.

        Args:
            after: the position that was requested, for an empty page.
            events: up to `limit` + 1 events.
            limit: the maximum number of events on the page.
        """
        page = cls.of(events, limit)
        page.next_cursor = str(page.items[-1].seq if page.items else after)
        return page


class DeliveryOut(BaseModel):
    """One received callback."""

    model_config = ConfigDict(
        from_attributes=True, title="Delivery", json_schema_extra={"examples": [_DELIVERY]}
    )

    id: str = Field(description="The id of the delivery. Ids increase with the time of receipt.")
    generation_id: str | None = Field(
        description="The generation that the callback reports. It is null if the body has no "
        "usable id."
    )
    received_at: Instant = Field(description="When the callback was first received.")
    outcome: str = Field(
        description="What the delivery did to the generation when it was first folded: `applied`, "
        "`unchanged`, `stale`, or `kept` if it could not be folded yet."
    )
    error: str | None = Field(
        description="Why the delivery could not be folded. It is null if it was folded."
    )
    duplicates: int = Field(description="How many times the same body was received again.")
    handled_at: Instant | None = Field(
        description="When the delivery was folded. It is null if it could not be folded yet."
    )


class DeliveryWithBody(DeliveryOut):
    """One received callback with its body."""

    model_config = ConfigDict(
        from_attributes=True,
        title="DeliveryWithBody",
        json_schema_extra={"examples": [_DELIVERY | {"body": {"id": EXAMPLE["id"]}}]},
    )

    body: Any = Field(
        None,
        description="The body of the callback: parsed if it is JSON, else as text. Callback URLs "
        "are redacted.",
    )


class DeliveriesOut(BaseModel):
    """One page of the inbox, newest first."""

    items: list[DeliveryOut] = Field(description="The deliveries, newest first.")
    next_cursor: str | None = Field(
        description="Pass this as `cursor` to get the next page. It is null on the last page."
    )
    has_more: bool = Field(description="Whether there are older deliveries after this page.")

    @classmethod
    def of(cls, deliveries: list[Delivery], limit: int) -> "DeliveriesOut":
        """Create a page.

        Args:
            deliveries: up to `limit` + 1 deliveries; the extra one shows that more follow.
            limit: the maximum number of deliveries on the page.
        """
        items = [DeliveryOut.model_validate(delivery) for delivery in deliveries[:limit]]
        more = len(deliveries) > limit
        return cls(items=items, next_cursor=items[-1].id if more else None, has_more=more)


class ReplayOut(BaseModel):
    """The result of folding a delivery again."""

    model_config = ConfigDict(title="Replay", json_schema_extra={"examples": [_REPLAY]})

    delivery_id: str = Field(description="The delivery that was folded again.")
    generation_id: str | None = Field(
        description="The generation that the callback reports. It is null if the body has no "
        "usable id."
    )
    outcome: Outcome = Field(
        description="What folding it again did: `applied`, `unchanged`, `stale`, or `kept` if it "
        "still cannot be folded."
    )
    error: str | None = Field(
        description="Why the body cannot be read. It is null if it can be read."
    )

    @classmethod
    def of(cls, receipt: Receipt) -> "ReplayOut":
        """Create the response from a receipt."""
        return cls(
            delivery_id=receipt.delivery_id,
            generation_id=receipt.generation_id,
            outcome=receipt.outcome,
            error=str(receipt.unreadable) if receipt.unreadable else None,
        )
