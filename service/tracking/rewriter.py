"""Rewrites the rows of older versions in the background, in small batches."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from service.logs import log
from service.storage import rewrites
from service.storage.engine import Database

_INTERVAL = 10.0  # seconds between rounds; another instance that is rewriting may stop
_BATCH = 200  # rows per commit; limits how long a callback waits for the writer
_PAUSE = 0.01  # seconds between batches, which leave the writer to other transactions
_LOG_INTERVAL = timedelta(seconds=5)


class Rewriter:
    """Runs for the lifetime of the service.

    Args:
        database: open, and migrated.
        clock: returns the current time, aware and in UTC.
        steps: the rewrites to run, by name.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        steps: Mapping[str, rewrites.Step] = rewrites.STEPS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._steps = steps

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.rewrite()
            await asyncio.sleep(_INTERVAL)

    async def rewrite(self) -> None:
        """Finish all rewrites, except those that another instance is running."""
        for name in await self._database.read(rewrites.unfinished, self._steps):
            await self._rewrite(name)

    async def _rewrite(self, name: str) -> None:
        logged_at = self._clock()
        while rewrite := await self._advance(name):
            if rewrite.finished_at:
                if rewrite.done:
                    log.info("rewrite_finished", name=name, rows=rewrite.done)
                return
            if self._clock() - logged_at >= _LOG_INTERVAL:
                log.info("rewrite_progress", name=name, rows=rewrite.done)
                logged_at = self._clock()
            await asyncio.sleep(_PAUSE)

    async def _advance(self, name: str) -> rewrites.Rewrite | None:
        step = self._steps[name]
        return await self._database.write(rewrites.advance, name, step, _BATCH, self._clock())
