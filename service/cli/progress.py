"""Progress on a terminal; elsewhere nothing is shown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from service.errors import NotFound, StoreUnavailable
from service.storage.backfills import RUNNING, Walk
from service.tracking.backfill import Backfill

_INTERVAL = 0.25  # seconds
_SPEED_PERIOD = 3600.0  # seconds over which rich averages the speed


@asynccontextmanager
async def backfill_progress(backfill: Backfill) -> AsyncIterator[None]:
    """Show inside this context how far the running walk is: rate, and time left."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, speed_estimate_period=_SPEED_PERIOD) as progress:
        following = asyncio.create_task(_follow(backfill, progress))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _follow(backfill: Backfill, progress: Progress) -> None:
    shown = _Shown(backfill, progress)
    while True:
        with suppress(NotFound, StoreUnavailable):
            walk = await backfill.newest()
            if walk.state == RUNNING:
                await shown.update(walk)
        await asyncio.sleep(_INTERVAL)


class _Shown:
    """The line of progress."""

    def __init__(self, backfill: Backfill, progress: Progress) -> None:
        self._backfill = backfill
        self._progress = progress
        self._line: TaskID = progress.add_task("Starting", total=None)
        self._lengths: dict[str, int | None] = {}

    async def update(self, walk: Walk) -> None:
        """Show a walk."""
        task = self._progress.tasks[self._line]
        rate = walk.seen / task.elapsed if task.elapsed else 0.0
        text = f"{walk.upstream}: {walk.seen} seen, {walk.new} new, {rate:.0f}/s"
        self._progress.update(self._line, description=text)
        done = _share(walk, horizon) if (horizon := _horizon(walk)) else await self._share(walk)
        total = None if done is None else 1.0
        self._progress.update(self._line, completed=done or 0.0, total=total)

    async def _share(self, walk: Walk) -> float | None:
        """Return the part of the list that was read; its length is asked for once."""
        if walk.upstream not in self._lengths:
            self._lengths[walk.upstream] = None
            self._lengths[walk.upstream] = await self._backfill.length(walk.upstream)
        length = self._lengths[walk.upstream]
        return min(1.0, walk.seen / length) if length else None


def _horizon(walk: Walk) -> datetime | None:
    """Return how far back the walk goes, if that is known."""
    return walk.since or (None if walk.everything else walk.known_until)


def _share(walk: Walk, horizon: datetime) -> float | None:
    """Return the part of the time between the newest generation and the horizon that was read."""
    newest, oldest = walk.place.newest, walk.place.oldest
    if newest is None or oldest is None or newest <= horizon:
        return None
    return min(1.0, (newest - oldest) / (newest - horizon))
