"""Knows when a generation may have changed: drops it from memory, and wakes whoever waits for it.

Changes made by this process are told by name, at once. Those of other processes on the same
database (another instance, a stdio server, the command line) are found in the history, which
is followed from the first question on. While it cannot be read, nothing in memory is relied on.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import StoreUnavailable
from service.storage import events
from service.storage.engine import Database
from service.tracking.cache import Cache

_PAUSE = 0.05  # seconds between looks at a database that has failed
_AT_ONCE = 1000  # events read at once
_SURE = 3.0  # seconds for which what was read stands; the history is looked at more often


class Changes:
    """Who waits for which generation; `ANY` stands for all of them.

    Args:
        cache: what is kept in memory, and dropped when it changes.
    """

    ANY = ""

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._following: asyncio.Task[None] | None = None

    def notify(self, generation_id: str) -> None:
        """This generation has changed."""
        self._cache.invalidate(generation_id)
        for name in (generation_id, self.ANY):
            for event in self._waiting.get(name, ()):
                event.set()

    @contextmanager
    def subscribe(self, generation_id: str) -> Iterator[asyncio.Event]:
        """An event that is set, from now on, whenever the generation may have changed."""
        event = asyncio.Event()
        self._waiting[generation_id].add(event)
        self.start_following()
        try:
            yield event
        finally:
            self._waiting[generation_id].discard(event)
            if not self._waiting[generation_id]:
                del self._waiting[generation_id]

    def start_following(self) -> None:
        """From now on, find what others change."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="follow-changes")

    async def close(self) -> None:
        """Follow no longer."""
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self) -> None:
        last: int | None = None
        while True:
            try:
                last = await self._notify_news(last)
                await self._database.changed()
            except StoreUnavailable:
                self.notify_all()  # whoever waits finds out when it reads
                await asyncio.sleep(_PAUSE)

    async def _notify_news(self, last: int | None) -> int:
        """Tell what the history has behind `last`; at first nobody knows what was missed."""
        if last is None:
            last = await self._database.read(events.newest_seq)
            self.notify_all()
        more = True
        while more:
            news = await self._database.read(events.changes_after, last, _AT_ONCE)
            for last, generation_id in news:  # noqa: B007 - the number of the last is kept
                self.notify(generation_id)
            more = len(news) == _AT_ONCE
        self._cache.mark_current(_SURE)
        return last

    def notify_all(self) -> None:
        """Any of them may have changed."""
        self._cache.clear()
        for waiting in self._waiting.values():
            for event in waiting:
                event.set()


async def wait_until_set(event: asyncio.Event, seconds: float) -> None:
    """Return as soon as it is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
