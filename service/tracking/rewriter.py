"""Goes through the rows that an older version wrote, while the service answers."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from service.logs import log
from service.storage import rewrites
from service.storage.engine import Database

_INTERVAL = 10.0  # seconds between rounds: another instance may be at it, and may end
_BATCH = 200  # rows in one commit: a callback that comes meanwhile waits for one batch only
_PAUSE = 0.01  # seconds between batches, which are others' alone
_TELL = timedelta(seconds=5)


class Rewriter:
    """Runs for the life of the service.

    Args:
        steps: what there is to rewrite, by name.
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
        """Until cancelled."""
        while True:
            await self.rewrite()
            await asyncio.sleep(_INTERVAL)

    async def rewrite(self) -> None:
        """All that nobody else is at, to its end."""
        for name in await self._database.read(rewrites.unfinished, self._steps):
            await self._rewrite(name)

    async def _rewrite(self, name: str) -> None:
        told = self._clock()
        while rewrite := await self._advance(name):
            if rewrite.finished_at:
                if rewrite.done:
                    log.info("rewrite_finished", name=name, rows=rewrite.done)
                return
            if self._clock() - told >= _TELL:
                log.info("rewrite_progress", name=name, rows=rewrite.done)
                told = self._clock()
            await asyncio.sleep(_PAUSE)

    async def _advance(self, name: str) -> rewrites.Rewrite | None:
        step = self._steps[name]
        return await self._database.write(rewrites.advance, name, step, _BATCH, self._clock())
