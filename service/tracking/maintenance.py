"""Maintenance: retries unfolded deliveries, deletes old rows, and repairs check times."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from service.domain.generation import Outcome
from service.domain.submission import KEY_LIFETIME
from service.logs import log
from service.metrics import GIVEN_UP, INBOX_LAG, PRUNED, WEBHOOK_LAG
from service.storage import (
    attempts,
    deliveries,
    durations,
    events,
    generations,
    outbox,
    submissions,
)
from service.storage.engine import Database
from service.tracking.callbacks import refold

_LONGEST_DELAY = timedelta(days=8)  # longer than any interval of the schedule
_INTERVAL = 10.0  # seconds between rounds
_HINT = (
    "See their errors in GET /v1/deliveries?outcome=kept, then fold them again with "
    "`luma-tracker replay`."
)
_REFOLD_BATCH = 50  # deliveries that are folded concurrently, in few commits
_MAX_DURATIONS = 400  # per kind; then they count half, so that a faster or slower Luma is noticed
_PRUNE_BATCH = 200  # rows per delete; limits how long a callback waits for the writer


class Maintenance:
    """Runs for the lifetime of the service.

    Args:
        database: open, and migrated.
        retention: deliveries, events, creates, attempts and finished messages older than this are
            deleted; generations are not.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self, database: Database, retention: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._retention = retention
        self._clock = clock
        self._given_up = 0

    async def run_refolding(self) -> None:
        """Retry unfolded deliveries until cancelled."""
        while True:
            await self.refold()
            await asyncio.sleep(_INTERVAL)

    async def run_pruning(self) -> None:
        """Delete old rows, repair check times and let old durations fade until cancelled."""
        while True:
            await self.prune()
            await self.reset_future_checks()
            await self._database.write(durations.halve, _MAX_DURATIONS)
            await self.measure_outbox()
            await asyncio.sleep(_INTERVAL)

    async def refold(self) -> None:
        """Fold deliveries that could not be folded so far, in case the cause is gone."""
        last = ""
        while found := await self._database.read(deliveries.unfolded, last, _REFOLD_BATCH):
            by_generation = defaultdict[str, list[str]](list)
            for last, generation_id in found:
                by_generation[generation_id].append(last)
            await asyncio.gather(*map(self._refold_in_order, by_generation.values()))
        await self._count_given_up()
        oldest = await self._database.read(deliveries.oldest_unfolded)
        INBOX_LAG.set((self._clock() - oldest).total_seconds() if oldest else 0)

    async def _refold_in_order(self, delivery_ids: list[str]) -> None:
        """Fold one after another, so that events are recorded in the order of arrival."""
        for delivery_id in delivery_ids:
            await self._refold(delivery_id)

    async def _refold(self, delivery_id: str) -> None:
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
        """Delete what is older than the retention, in small batches.

        Creates stay at least as long as an idempotency key can name them.
        """
        now = self._clock()
        before = now - self._retention
        await self._prune("deliveries", deliveries.prune, before)
        await self._prune("events", events.prune, before)
        await self._prune("attempts", attempts.prune, before)
        await self._prune("outbox", outbox.prune_messages, before)
        await self._prune("submissions", submissions.prune, min(before, now - KEY_LIFETIME))

    async def reset_future_checks(self) -> None:
        """Make rows due whose next check is too far away, because the clock was once ahead."""
        now = self._clock()
        count = await self._database.write(
            generations.reset_future_checks, now, now + _LONGEST_DELAY
        )
        if count:
            log.warning("checks_reset", count=count, reason="the clock was ahead")

    async def measure_outbox(self) -> None:
        """Update the age of the oldest message that was not delivered yet."""
        oldest = await self._database.read(outbox.oldest_waiting)
        WEBHOOK_LAG.set((self._clock() - oldest).total_seconds() if oldest else 0)

    async def _prune(
        self, table: str, prune: Callable[[Connection, datetime, int], int], before: datetime
    ) -> None:
        removed = _PRUNE_BATCH
        while removed == _PRUNE_BATCH:
            removed = await self._database.write(prune, before, _PRUNE_BATCH)
            PRUNED.labels(table).inc(removed)
