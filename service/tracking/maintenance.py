"""Keeps the store tidy: folds again what could not be folded, and lets go of what is old."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from service.domain.generation import Outcome
from service.logs import log
from service.metrics import GIVEN_UP, INBOX_LAG, PRUNED
from service.storage import deliveries, events, generations
from service.storage.engine import Database
from service.tracking.observe import refold

_LATEST = timedelta(days=8)  # longer than any pause of the schedule
_INTERVAL = 10.0  # seconds between rounds
_HINT = "GET /v1/deliveries?outcome=kept says why; `luma-tracker replay` folds them again"
_TOGETHER = 50  # deliveries folded at once, in few commits
_BATCH = 200  # rows removed at once: a callback that comes meanwhile waits for one batch only


class Maintenance:
    """Runs for the life of the service.

    Args:
        retention: deliveries and events older than this go; generations stay.
    """

    def __init__(
        self, database: Database, retention: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._retention = retention
        self._clock = clock
        self._given_up = 0

    async def keep_folding(self) -> None:
        """Until cancelled."""
        while True:
            await self.fold_again()
            await asyncio.sleep(_INTERVAL)

    async def keep_pruning(self) -> None:
        """Until cancelled."""
        while True:
            await self.prune()
            await self.recall()
            await asyncio.sleep(_INTERVAL)

    async def fold_again(self) -> None:
        """Fold what could not be folded when it came: the cause may be gone."""
        last = ""
        while found := await self._database.read(deliveries.unfolded, last, _TOGETHER):
            of_each = defaultdict[str, list[str]](list)
            for last, generation_id in found:
                of_each[generation_id].append(last)
            await asyncio.gather(*map(self._fold_in_order, of_each.values()))
        await self._count_given_up()
        oldest = await self._database.read(deliveries.oldest_unfolded)
        INBOX_LAG.set((self._clock() - oldest).total_seconds() if oldest else 0)

    async def _fold_in_order(self, delivery_ids: list[str]) -> None:
        """One after another: history has them in the order in which they came."""
        for delivery_id in delivery_ids:
            await self._fold(delivery_id)

    async def _fold(self, delivery_id: str) -> None:
        receipt = await self._database.write(refold, delivery_id, self._clock())
        if receipt and receipt.outcome is not Outcome.KEPT:
            log.info(
                "delivery_replayed",
                delivery_id=delivery_id,
                generation_id=receipt.generation_id,
                outcome=receipt.outcome.value,
            )

    async def _count_given_up(self) -> None:
        count = await self._database.read(deliveries.given_up)
        if count > self._given_up:
            log.error("deliveries_given_up", count=count, hint=_HINT)
        self._given_up = count
        GIVEN_UP.set(count)

    async def prune(self) -> None:
        """Remove what is older than the retention, in small batches."""
        before = self._clock() - self._retention
        await self._prune("deliveries", deliveries.prune_deliveries, before)
        await self._prune("events", events.prune, before)

    async def recall(self) -> None:
        """Ask about what a clock that was ahead has put off for longer than we ever do."""
        now = self._clock()
        if recalled := await self._database.write(generations.recall, now, now + _LATEST):
            log.warning("checks_reset", count=recalled, reason="the clock was ahead")

    async def _prune(
        self, table: str, prune: Callable[[Connection, datetime, int], int], before: datetime
    ) -> None:
        removed = _BATCH
        while removed == _BATCH:
            removed = await self._database.write(prune, before, _BATCH)
            PRUNED.labels(table).inc(removed)
