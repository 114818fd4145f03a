"""Checks rows with Luma in the background: claims to verify, and rows without recent reports.

    due rows ──claim (compare-and-set on next_check_at)──► fetch, within the budget ──► observe
       ▲                                                                                   │
       └──────────── next_check_at: the interval grows while nothing changes ◄─────────────┘

Of an upstream without callbacks, the rows are claimed from whose check most is gained (`choose`).
Rows that became due while the service was down are due when it starts; no full scan is needed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from service.domain.durations import Estimates
from service.domain.generation import Generation, is_polled
from service.domain.request_budget import Purpose
from service.domain.schedule import OpenRow, choose, retry_check
from service.errors import StoreUnavailable, TrackerError, UpstreamRefused, UpstreamUnavailable
from service.logs import log
from service.storage import durations, generations
from service.storage.engine import Database
from service.tracking.fetcher import Fetcher

_MAX_CONCURRENT = 8  # checks per purpose
_PURPOSES = (Purpose.VERIFY, Purpose.RECONCILE)
_MAX_CONSIDERED = 1000  # open rows of an upstream without callbacks, from which some are chosen
_CLAIM = timedelta(seconds=45)  # longer than a check takes; afterwards another instance may check
_RETRY_DELAY = 30.0  # seconds, after errors that need action, for example a wrong key or URL
_MAX_REFUSALS = 3  # in a row; then a row is not checked until a callback or a fetch resets it
_INTERVAL = 0.25  # seconds between searches for due rows


class Reconciler:
    """Runs for the lifetime of the service. With several instances, one checks each due row."""

    def __init__(self, database: Database, fetcher: Fetcher, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._fetcher = fetcher
        self._clock = clock
        self._checks: dict[Purpose, set[asyncio.Task[None]]] = {each: set() for each in _PURPOSES}

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                await self._start_checks()
                await asyncio.sleep(_INTERVAL)
        finally:
            checks = [task for tasks in self._checks.values() for task in tasks]
            for task in checks:
                task.cancel()
            await asyncio.gather(*checks, return_exceptions=True)

    async def _start_checks(self) -> None:
        for purpose in _PURPOSES:
            for row in await self._claim(purpose):
                task = asyncio.create_task(self._check(row, purpose))
                self._checks[purpose].add(task)
                task.add_done_callback(self._checks[purpose].discard)

    async def _claim(self, purpose: Purpose) -> list[Generation]:
        """Claim due rows, as many as the request budget allows to check now."""
        now, claimed = self._clock(), list[Generation]()
        if not await self._database.read(generations.any_due, self._fetcher.upstreams, now):
            return claimed
        for upstream, available in (await self._fetcher.available(purpose)).items():
            free = _MAX_CONCURRENT - len(self._checks[purpose]) - len(claimed)
            limit = max(0, min(available, free))
            if limit and purpose is Purpose.RECONCILE and is_polled(upstream):
                claimed += await self._claim_chosen(upstream, now, limit)
            else:
                claimed += await self._database.write(
                    generations.claim_due,
                    upstream,
                    claims=purpose is Purpose.VERIFY,
                    now=now,
                    limit=limit,
                    until=now + _CLAIM,
                )
        return claimed

    async def _claim_chosen(self, upstream: str, now: datetime, limit: int) -> list[Generation]:
        """Claim the rows of an upstream without callbacks from whose check most is gained."""
        per_second = self._fetcher.per_second(upstream)
        rows = await self._database.read(_chosen, upstream, now, limit, per_second)
        if not rows:
            return []
        return await self._database.write(generations.claim, rows, now + _CLAIM)

    async def _check(self, row: Generation, purpose: Purpose) -> None:
        try:
            await self._fetcher.check(row, purpose)
        except TrackerError as error:
            log.info("check_failed", generation_id=row.id, reason=str(error))
            with suppress(StoreUnavailable):  # the claim runs out
                await self._reschedule(row, error)

    async def _reschedule(self, row: Generation, error: TrackerError) -> None:
        """Make a row due again soon after a failed check; never after the third refusal."""
        refused = isinstance(error, UpstreamRefused) and error.about_generation
        refusals = row.refusals + 1 if refused else row.refusals
        delay = _RETRY_DELAY
        if isinstance(error, UpstreamUnavailable):
            delay = error.retry_after
        due: datetime | None = retry_check(row, self._clock(), delay)
        if refused and refusals >= _MAX_REFUSALS:
            log.warning("checks_ended", generation_id=row.id, reason=str(error))
            due = None
        await self._database.write(generations.reschedule, row, due, refusals)


def _chosen(
    connection: Connection, upstream: str, now: datetime, limit: int, per_second: float
) -> list[OpenRow]:
    rows = generations.open_rows(connection, upstream, _MAX_CONSIDERED)
    return choose(rows, now, limit, per_second, Estimates(partial(durations.find, connection)))
