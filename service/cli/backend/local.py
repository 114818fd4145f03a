"""The backend without a running service: a tracker on the configured database."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel

from service.bootstrap import Parts
from service.cli.backend.contract import By, Created, Filters, Json, Order, Reply
from service.cli.progress import backfill_progress
from service.domain.query import parse
from service.storage import listing
from service.tracking.answer import Answer
from service.tracking.backfill.schema import BackfillOut
from service.tracking.creating.refused import RefusedCreate
from service.tracking.gateway import CreateRequest
from service.tracking.schemas import (
    DeliveriesOut,
    DeliveryWithBody,
    EventOut,
    EventsOut,
    ReplayOut,
    page_body,
)
from service.tracking.webhooks.endpoints import NewWebhook
from service.tracking.webhooks.schemas import AttemptOut, AttemptsOut, WebhookOut, WebhooksOut

_HEARTBEAT = 1.0  # seconds
_UNPROCESSABLE = 422


class Local:
    """Works on the database.

    Args:
        parts: an open tracker, and what belongs to it.
        name: of the database, for display.
    """

    def __init__(self, parts: Parts, name: str) -> None:
        self.name = name
        self._tracker = parts.tracker
        self._gateway = parts.gateway
        self._recovery = parts.recovery

    async def generation(
        self, generation_id: str, *, fresh: bool = False, wait: float | None = None
    ) -> Reply:
        """Look a generation up."""
        if wait is None:
            return _answer(await self._tracker.lookup(generation_id, fresh=fresh))
        return _answer(await self._tracker.wait(generation_id, wait, fresh=fresh))

    async def generations(self, filters: Filters) -> Reply:
        """Return a page of stored generations."""
        given: dict[str, Any] = {name: _plain(value) for name, value in filters.items() if value}
        query = listing.Query(**{**given, "q": parse(str(filters.get("q") or ""))})
        return Reply(page_body(await self._tracker.page(query)))

    async def events(self, after: int, limit: int) -> Reply:
        """Return a page of changes after a position."""
        found = await self._tracker.history.after(after, limit + 1)
        return _reply(EventsOut.behind(after, found.events, limit))

    async def events_of(self, generation_id: str, after: int, limit: int) -> Reply:
        """Return a page of the changes of one generation."""
        found = await self._tracker.events(generation_id, after=after, limit=limit + 1)
        return _reply(EventsOut.of(found, limit))

    async def newest_event(self) -> int:
        """Return the position of the newest change."""
        return await self._tracker.history.newest()

    async def follow(self, after: int) -> AsyncGenerator[list[Json], None]:
        """Yield the changes after a position as they happen."""
        async with aclosing(self._tracker.history.follow(after, _HEARTBEAT)) as batches:
            async for batch in batches:
                changes = map(EventOut.model_validate, batch.events)
                yield [change.model_dump(mode="json") for change in changes]

    async def deliveries(self, filters: Filters) -> Reply:
        """Return a page of the inbox, newest first."""
        limit = int(str(filters["limit"]))
        found = await self._tracker.deliveries.page(
            outcomes=_several(filters.get("outcome")),
            generation_ids=_several(filters.get("generation_id")),
            before=_text(filters.get("cursor")),
            limit=limit + 1,
        )
        return _reply(DeliveriesOut.of(found, limit))

    async def delivery(self, delivery_id: str) -> Reply:
        """Return a delivery with its body."""
        found, body = await self._tracker.deliveries.get(delivery_id)
        shown = DeliveryWithBody.model_validate(found)
        shown.body = body
        return _reply(shown)

    async def replay(self, delivery_id: str) -> Reply:
        """Fold a delivery again."""
        return _reply(ReplayOut.of(await self._tracker.deliveries.replay(delivery_id)))

    async def create(self, order: Order) -> Created:
        """Create a generation, the way the gateway does."""
        try:
            answer, is_first = await self._gateway.create(CreateRequest.of_json(*order, caller=""))
        except RefusedCreate as error:
            return Created(_UNPROCESSABLE, f"{error} {error.hint}".encode(), error.submission_id)
        return Created(answer.status, answer.body, answer.submission_id, is_repeated=not is_first)

    async def created_by(self, submission_id: str) -> str | None:
        """Return what a create made; first, Luma's list is searched for it if that is due."""
        await self._recovery.search()
        return (await self._gateway.submission(submission_id)).generation_id

    async def backfill(self, upstream: str | None, since: str | None, *, everything: bool) -> Reply:
        """Read an upstream's list to its end."""
        walks = self._tracker.backfill
        async with backfill_progress(walks):
            walk = await walks.complete(upstream, since, everything=everything)
        return _reply(BackfillOut.of(walk))

    async def stats(self, since: str | None, by: By) -> Reply:
        """Return statistics."""
        return _reply(await self._tracker.stats.read(since, by))

    async def webhooks(self) -> Reply:
        """Return the endpoints."""
        return _reply(WebhooksOut.of(await self._tracker.webhooks.every()))

    async def add_webhook(self, wanted: Json) -> Reply:
        """Add an endpoint."""
        return _reply(
            WebhookOut.model_validate(await self._tracker.webhooks.add(NewWebhook(**wanted)))
        )

    async def remove_webhook(self, webhook_id: str) -> None:
        """Remove an endpoint."""
        await self._tracker.webhooks.remove(webhook_id)

    async def test_webhook(self, webhook_id: str) -> Reply:
        """Send a test message."""
        return _reply(AttemptOut.of(await self._tracker.webhooks.test(webhook_id)))

    async def attempts(self, webhook_id: str, filters: Filters) -> Reply:
        """Return a page of attempts."""
        limit = int(str(filters["limit"]))
        before = _text(filters.get("cursor"))
        found = await self._tracker.webhooks.attempts(webhook_id, before=before, limit=limit + 1)
        return _reply(AttemptsOut.of(found, limit))

    async def replay_attempt(self, webhook_id: str, attempt_id: str) -> Reply:
        """Send the message of an attempt again."""
        return _reply(AttemptOut.of(await self._tracker.webhooks.replay(webhook_id, attempt_id)))


def _answer(answer: Answer) -> Reply:
    return Reply(answer.representation.body, max(0.0, answer.age.total_seconds()))


def _reply(model: BaseModel) -> Reply:
    return Reply(model.model_dump_json().encode())


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _several(value: Any) -> tuple[str, ...]:
    return tuple(value or ())


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
