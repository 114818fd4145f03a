"""Progress on a terminal; elsewhere nothing is shown."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from service.errors import StoreUnavailable
from service.storage.backfills import RUNNING, Walk
from service.tracking.backfill.walks import Backfill

_INTERVAL = 0.25  # seconds


@asynccontextmanager
async def backfill_progress(backfill: Backfill) -> AsyncIterator[None]:
    """Show inside this context how far the running walk is: rate, and time left."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
    with Progress(*columns, console=console) as progress:
        following = asyncio.create_task(_follow(backfill, progress))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _follow(backfill: Backfill, progress: Progress) -> None:
    async with asyncio.TaskGroup() as asking:
        shown = _Shown(progress, lambda upstream: asking.create_task(backfill.length(upstream)))
        while True:
            with suppress(StoreUnavailable):
                walk = await backfill.newest()
                if walk and walk.state == RUNNING:
                    shown.update(walk)
            await asyncio.sleep(_INTERVAL)


class _Shown:
    """The line of progress. A continued walk is measured from where it was continued."""

    def __init__(
        self, progress: Progress, ask_length: Callable[[str], asyncio.Task[int | None]]
    ) -> None:
        self._progress = progress
        self._ask_length = ask_length
        self._line: TaskID = progress.add_task("Starting", total=None, left="")
        self._lengths: dict[str, asyncio.Task[int | None]] = {}
        self._begun: tuple[float, int, float | None] | None = None

    def update(self, walk: Walk) -> None:
        """Show a walk."""
        now, horizon = time.monotonic(), _horizon(walk)
        share = _share(walk, horizon) if horizon else self._share(walk)
        if self._begun is None or (self._begun[2] is None and share is not None):
            self._begun = now, walk.seen, share
        since, seen, share_then = self._begun
        rate = (walk.seen - seen) / (now - since) if now > since else 0.0
        self._progress.update(
            self._line,
            description=f"{walk.upstream}: {walk.seen} seen, {walk.new} new, {rate:.0f}/s",
            completed=share or 0.0,
            total=None if share is None else 1.0,
            left=_left(now - since, share, share_then),
        )

    def _share(self, walk: Walk) -> float | None:
        """Return the part of the list that was read; its length is asked for once."""
        if walk.upstream not in self._lengths:
            self._lengths[walk.upstream] = self._ask_length(walk.upstream)
        asked = self._lengths[walk.upstream]
        length = asked.result() if asked.done() else None
        return min(1.0, walk.seen / length) if length else None


def _left(elapsed: float, share: float | None, share_then: float | None) -> str:
    """Return the time left, from the part that was read in the time elapsed."""
    if share is None or share_then is None or share <= share_then:
        return "time left unknown"
    seconds = round(elapsed * (1 - share) / (share - share_then))
    return f"{timedelta(seconds=seconds)} left"


def _horizon(walk: Walk) -> datetime | None:
    """Return how far back the walk goes, if that is known."""
    return walk.since or (None if walk.everything else walk.known_until)


def _share(walk: Walk, horizon: datetime) -> float | None:
    """Return the part of the time between the newest generation and the horizon that was read."""
    newest, oldest = walk.place.newest, walk.place.oldest
    if newest is None or oldest is None or newest <= horizon:
        return None
    return min(1.0, (newest - oldest) / (newest - horizon))
