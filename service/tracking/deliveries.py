"""The inbox: callbacks come in, people read them, and what could not be folded is folded again."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from service.domain.generation import Outcome
from service.domain.text import clean_text
from service.errors import NotFound, StoreUnavailable
from service.logs import log
from service.luma.reading import shown
from service.metrics import CALLBACKS
from service.storage import deliveries
from service.storage.engine import Database
from service.tracking.callback_tokens import Grant
from service.tracking.changes import Changes
from service.tracking.observe import Callback, receive, refold
from service.tracking.observe import Receipt as Receipt  # noqa: PLC0414 - surfaces get it from us

_COUNTERS = {name: CALLBACKS.labels(name) for name in (*Outcome, "unreadable", "unavailable")}


class Deliveries:
    """Every callback that came, as it came."""

    def __init__(self, database: Database, changes: Changes, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    def receive(self, body: bytes, grant: Grant) -> asyncio.Future[Receipt]:
        """Take in a callback. When the future is done, it is on disk.

        Raises, when it is awaited:
            Forbidden: the token is for another generation.
            StoreUnavailable: it is not; Luma should try again.
        """
        callback = Callback(body, grant, self._clock())
        receiving = self._database.submit(receive, callback, len(body))
        receiving.add_done_callback(self._received)
        return receiving

    def _received(self, receiving: asyncio.Future[Receipt]) -> None:
        if receiving.cancelled():  # its caller has gone
            return
        if error := receiving.exception():
            if isinstance(error, StoreUnavailable):
                _COUNTERS["unavailable"].inc()
            return
        receipt = receiving.result()
        _COUNTERS["unreadable" if receipt.unreadable else receipt.outcome].inc()
        if receipt.outcome is Outcome.KEPT:
            told = {"delivery_id": receipt.delivery_id, "generation_id": receipt.generation_id}
            log.warning("delivery_kept", **told)
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
        """The inbox, newest first."""
        return await self._database.read(
            deliveries.deliveries,
            outcomes=outcomes,
            generation_ids=tuple(clean_text(id_) for id_ in generation_ids),
            before=before and clean_text(before),
            limit=limit,
        )

    async def get(self, delivery_id: str) -> tuple[deliveries.Delivery, Any]:
        """One delivery, and its body without our secrets: as parsed JSON, else as text.

        Raises:
            NotFound: there is none of that id.
        """
        delivery_id = clean_text(delivery_id)
        found = await self._database.read(deliveries.find_delivery, delivery_id)
        body = await self._database.read(deliveries.body_of, delivery_id)
        if found is None or body is None:
            raise _no_delivery(delivery_id)
        return found, shown(body)

    async def kept(self) -> list[str]:
        """Up to 1,000 deliveries that are not folded yet, oldest first."""
        return await self._database.read(deliveries.kept, 1000)

    async def replay(self, delivery_id: str) -> Receipt:
        """Fold a delivery again.

        Raises:
            NotFound: there is none of that id.
        """
        receipt = await self._database.write(refold, clean_text(delivery_id), self._clock())
        if receipt is None:
            raise _no_delivery(delivery_id)
        if receipt.generation_id:
            self._changes.notify(receipt.generation_id)
        return receipt


def _no_delivery(delivery_id: str) -> NotFound:
    return NotFound(
        f"There is no delivery {delivery_id[:64]}.", "GET /v1/deliveries lists those there are."
    )
