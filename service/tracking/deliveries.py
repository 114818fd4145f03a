"""The inbox: receives callbacks, lists and shows deliveries, and replays them."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from service.domain.cursors import parse_id_cursor
from service.domain.generation import TEST_PREFIX, Outcome, require_outcome
from service.domain.text import clean_text
from service.errors import NotFound, StoreUnavailable
from service.logs import log
from service.luma.bodies import shown
from service.metrics import CALLBACKS
from service.storage import deliveries
from service.storage.engine import Database
from service.tracking.callback_tokens import Grant
from service.tracking.callbacks import Callback, receive, refold
from service.tracking.callbacks import Receipt as Receipt  # noqa: PLC0414 - re-exported for surfaces
from service.tracking.changes import Changes

_COUNTERS = {name: CALLBACKS.labels(name) for name in (*Outcome, "unreadable", "unavailable")}


class Deliveries:
    """The deliveries: every callback with a valid token, as received."""

    def __init__(self, database: Database, changes: Changes, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    def receive(self, body: bytes, grant: Grant) -> asyncio.Future[Receipt]:
        """Store and fold a callback. When the future is done, the callback is on disk.

        Raises, when the future is awaited:
            Forbidden: the token is bound to another generation.
            StoreUnavailable: nothing was stored; the sender should retry.
        """
        callback = Callback(body, grant, self._clock())
        receiving = self._database.submit(receive, callback, len(body))
        receiving.add_done_callback(self._received)
        return receiving

    def _received(self, receiving: asyncio.Future[Receipt]) -> None:
        if receiving.cancelled():  # the client has disconnected
            return
        if error := receiving.exception():
            if isinstance(error, StoreUnavailable):
                _COUNTERS["unavailable"].inc()
            return
        receipt = receiving.result()
        _COUNTERS["unreadable" if receipt.unreadable else receipt.outcome].inc()
        if receipt.outcome is Outcome.KEPT:
            log.warning(
                "delivery_kept",
                delivery_id=receipt.delivery_id,
                generation_id=receipt.generation_id,
            )
        if receipt.generation_id:
            self._changes.notify(receipt.generation_id)

    async def page(
        self,
        *,
        outcomes: tuple[str, ...],
        generation_ids: tuple[str, ...],
        before: str | None,
        limit: int,
    ) -> list[deliveries.Delivery]:
        """Return a page of the inbox, newest first.

        Args:
            outcomes: only deliveries with one of these outcomes; empty: all.
            generation_ids: only deliveries for one of these generations; empty: all.
            before: only deliveries older than the one with this id.
            limit: the maximum number of deliveries.

        Raises:
            InvalidInput: there is no such outcome, or `before` is not an id.
        """
        return await self._database.read(
            deliveries.deliveries,
            outcomes=tuple(map(require_outcome, outcomes)),
            generation_ids=tuple(clean_text(id_) for id_ in generation_ids),
            before=parse_id_cursor(before),
            limit=limit,
        )

    async def get(self, delivery_id: str) -> tuple[deliveries.Delivery, Any]:
        """Return a delivery and its body: parsed if it is JSON, else text; without tokens.

        Raises:
            NotFound: no delivery has this id.
        """
        delivery_id = clean_text(delivery_id)
        found = await self._database.read(deliveries.find_delivery, delivery_id)
        body = await self._database.read(deliveries.body_of, delivery_id)
        if found is None or body is None:
            raise _no_delivery(delivery_id)
        return found, shown(body)

    async def take_test(self, generation_id: str) -> tuple[deliveries.Delivery, Any] | None:
        """Return the delivery of a test and its body, and delete it; None: it is not here.

        Args:
            generation_id: begins with `TEST_PREFIX`, so that nothing else can be deleted.
        """
        if not generation_id.startswith(TEST_PREFIX):
            raise ValueError(f"{generation_id} is the id of a generation, not of a test")
        wanted = await self.page(outcomes=(), generation_ids=(generation_id,), before=None, limit=1)
        found = await self.get(wanted[0].id) if wanted else None
        await self._database.write(deliveries.remove, generation_id)
        return found

    async def replay(self, delivery_id: str) -> Receipt:
        """Fold a delivery again.

        Raises:
            NotFound: no delivery has this id.
        """
        receipt = await self._database.write(refold, clean_text(delivery_id), self._clock())
        if receipt is None:
            raise _no_delivery(delivery_id)
        if receipt.generation_id:
            self._changes.notify(receipt.generation_id)
        return receipt


def _no_delivery(delivery_id: str) -> NotFound:
    return NotFound(
        f"There is no delivery with the id {delivery_id[:64]}.",
        "List the deliveries with GET /v1/deliveries.",
    )
