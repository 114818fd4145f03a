"""What happened to a generation, from all sources, in the order of time."""

from datetime import datetime
from typing import Any, NamedTuple

from service.domain.generation import Outcome
from service.domain.submission import Submission
from service.storage.shape import GenerationOut
from service.tracking.overview import Message
from service.tracking.schemas import DeliveryOut, DeliveryWithBody, EventOut
from service.tracking.tracker import Tracker

_MOST_EVENTS = 100
_MOST_DELIVERIES = 20  # with their bodies
_MOST_ATTEMPTS = 50
_SOURCES = {
    "submit": "Luma's answer to the create",
    "callback": "a callback",
    "fetch": "a fetch",
    "reconcile": "a background check",
    "backfill": "Luma's list",
}
_OUTCOMES = {
    Outcome.APPLIED: "It changed the generation.",
    Outcome.UNCHANGED: "It told nothing new.",
    Outcome.STALE: "It lost: a higher state was known already.",
    Outcome.KEPT: "It could not be folded yet; it is kept, and tried again.",
}


class Entry(NamedTuple):
    """One thing that happened."""

    at: datetime
    kind: str
    """`create`, `change`, `callback` or `webhook`."""
    title: str
    detail: str = ""
    body: Any = None
    """What came or was recorded, without secrets."""
    url: str | None = None
    """The REST route of the same."""


async def timeline(tracker: Tracker, generation: GenerationOut) -> list[Entry]:
    """Return what happened to a stored generation, oldest first."""
    found = await tracker.events(generation.id, after=0, limit=_MOST_EVENTS)
    events = [EventOut.model_validate(event) for event in found]
    create = await tracker.overview.create_of(generation.id)
    attempts = await tracker.overview.attempts_of(generation.id, _MOST_ATTEMPTS)
    entries = [
        *([_of_create(create)] if create else []),
        *(_of_event(event, generation.id) for event in events),
        *(await _of_deliveries(tracker, generation.id)),
        *(_of_attempt(attempt) for attempt in attempts),
    ]
    return sorted(entries, key=lambda entry: entry.at)


def _of_create(create: Submission) -> Entry:
    status = f" with {create.status}" if create.status else ""
    detail = f"POST {create.path}, {create.state}{status}."
    url = f"/v1/submissions/{create.id}"
    return Entry(
        create.created_at, "create", "Created through the gateway", detail, create.request, url
    )


def _of_event(event: EventOut, generation_id: str) -> Entry:
    by = f"Told by {_SOURCES.get(event.source, event.source)}; revision {event.rev}."
    if event.from_state is None:
        title = f"First seen: {event.to_state}"
    elif event.from_state == event.to_state:
        title = f"Still {event.to_state}; other details changed"
    else:
        title = f"{event.from_state} → {event.to_state}"
    url = f"/v1/generations/{generation_id}/events?cursor={event.seq - 1}&limit=1"
    return Entry(event.at, "change", title, by, None, url)


async def _of_deliveries(tracker: Tracker, generation_id: str) -> list[Entry]:
    found = await tracker.deliveries.page(
        outcomes=(), generation_ids=(generation_id,), before=None, limit=_MOST_DELIVERIES
    )
    return [_of_delivery(await _with_body(tracker, each.id)) for each in found]


async def _with_body(tracker: Tracker, delivery_id: str) -> DeliveryWithBody:
    delivery, body = await tracker.deliveries.get(delivery_id)
    shown = DeliveryOut.model_validate(delivery)
    return DeliveryWithBody(**shown.model_dump(), body=body)


def _of_delivery(delivery: DeliveryWithBody) -> Entry:
    state = delivery.body.get("state") if isinstance(delivery.body, dict) else None
    title = f"Callback: {state}" if isinstance(state, str) else "Callback"
    detail = _OUTCOMES.get(Outcome(delivery.outcome), delivery.outcome)
    if delivery.error:
        detail += f" {delivery.error}"
    if delivery.duplicates:
        times = "once" if delivery.duplicates == 1 else f"{delivery.duplicates} times"
        detail += f" The same body came again {times}: a duplicate changes nothing."
    url = f"/v1/deliveries/{delivery.id}"
    return Entry(delivery.received_at, "callback", title, detail, delivery.body, url)


def _of_attempt(message: Message) -> Entry:
    attempt = message.attempt
    answer = f"answered {attempt.status}" if attempt.status else "no answer"
    detail = f"{answer}{f': {attempt.error}' if attempt.error else ''}."
    url = f"/v1/webhooks/{attempt.webhook_id or 'creators'}/attempts"
    return Entry(attempt.at, "webhook", f"Webhook sent: {attempt.state}", detail, message.body, url)
