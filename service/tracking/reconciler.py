"""Asks Luma about what it did not tell: quiet rows, and claims that nobody confirmed.

    due rows ──claim (compare-and-set on next_check_at)──► ask, inside the budget ──► observe
       ▲                                                                                 │
       └────────────── next_check_at: later and later while nothing happens ◄────────────┘

Rows that were due while we were down are due when we start, so starting needs no sweep.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from service.domain.generation import Generation
from service.domain.request_budget import Purpose
from service.domain.schedule import soon
from service.errors import TrackerError, UpstreamRefused, UpstreamUnavailable
from service.logs import log
from service.storage import generations
from service.storage.engine import Database
from service.tracking.fetcher import Fetcher

_AT_ONCE = 8  # requests under way, of each purpose
_PURPOSES = (Purpose.VERIFY, Purpose.RECONCILE)
_CLAIM = timedelta(seconds=45)  # longer than a question takes; then another instance may ask
_UNTIL_MENDED = 30.0  # seconds, while a key or a URL is wrong
_MOST_REFUSALS = 3  # of one row, until there is news of it
_INTERVAL = 0.25  # seconds between looks for due rows


class Reconciler:
    """Runs for the life of the service; of several, each row is asked about by one."""

    def __init__(self, database: Database, fetcher: Fetcher, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._fetcher = fetcher
        self._clock = clock
        self._asking: dict[Purpose, set[asyncio.Task[None]]] = {each: set() for each in _PURPOSES}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._round()
                await asyncio.sleep(_INTERVAL)
        finally:
            asking = [task for tasks in self._asking.values() for task in tasks]
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _round(self) -> None:
        for purpose in _PURPOSES:
            for row in await self._claimed(purpose):
                task = asyncio.create_task(self._ask(row, purpose))
                self._asking[purpose].add(task)
                task.add_done_callback(self._asking[purpose].discard)

    async def _claimed(self, purpose: Purpose) -> list[Generation]:
        """What may be asked about now, as far as the budget goes."""
        now, claimed = self._clock(), list[Generation]()
        if not await self._database.read(generations.any_due, self._fetcher.upstreams, now):
            return claimed
        for upstream, available in (await self._fetcher.available(purpose)).items():
            free = _AT_ONCE - len(self._asking[purpose]) - len(claimed)
            claimed += await self._database.write(
                generations.claim_due,
                upstream,
                claims=purpose is Purpose.VERIFY,
                now=now,
                limit=max(0, min(available, free)),
                until=now + _CLAIM,
            )
        return claimed

    async def _ask(self, row: Generation, purpose: Purpose) -> None:
        try:
            await self._fetcher.check(row, purpose)
        except TrackerError as error:
            log.info("check_failed", generation_id=row.id, reason=str(error))
            await self._put_off(row, error)

    async def _put_off(self, row: Generation, error: TrackerError) -> None:
        """Nothing was learnt, so it is due again soon; what Luma refuses to tell, three times."""
        refused = isinstance(error, UpstreamRefused) and error.of_this
        refusals = row.refusals + 1 if refused else row.refusals
        seconds = _UNTIL_MENDED
        if isinstance(error, UpstreamUnavailable):
            seconds = error.retry_after
        due: datetime | None = soon(row, self._clock(), seconds)
        if refused and refusals >= _MOST_REFUSALS:
            log.warning("checks_ended", generation_id=row.id, reason=str(error))
            due = None
        await self._database.write(generations.reschedule, row, due, refusals)
