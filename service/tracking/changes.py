"""Change notification: removes changed generations from the cache, and wakes their subscribers.

Changes made by this process are notified immediately. Changes made by other processes on the same
database (another instance, a stdio server, the command line) are found by following the events
table. Following starts with the first subscription, lookup or list. While the table cannot be
read, the cache is not used.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import StoreUnavailable
from service.storage import events
from service.storage.engine import Database
from service.tracking.cache import Cache

_RETRY_DELAY = 0.05  # seconds, after the database has failed
_BATCH = 1000  # events per read
_CURRENT_FOR = 3.0  # seconds; longer than the interval at which events are read


class Changes:
    """The subscribers of each generation; `ANY` stands for all generations.

    Args:
        database: where the events of other processes are read.
        cache: the cache whose entries are invalidated.
    """

    ANY = ""

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self._subscribers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._following: asyncio.Task[None] | None = None

    def notify(self, generation_id: str) -> None:
        """Invalidate a changed generation in the cache, and wake its subscribers."""
        self._cache.invalidate(generation_id)
        for name in (generation_id, self.ANY):
            for event in self._subscribers.get(name, ()):
                event.set()

    @contextmanager
    def subscribe(self, generation_id: str) -> Iterator[asyncio.Event]:
        """Provide an event that is set whenever the generation may have changed."""
        event = asyncio.Event()
        self._subscribers[generation_id].add(event)
        self.start_following()
        try:
            yield event
        finally:
            self._subscribers[generation_id].discard(event)
            if not self._subscribers[generation_id]:
                del self._subscribers[generation_id]

    @contextmanager
    def wake(self, event: asyncio.Event) -> Iterator[None]:
        """Set the event after each change that is notified, without following other processes."""
        self._subscribers[self.ANY].add(event)
        try:
            yield
        finally:
            self._subscribers[self.ANY].discard(event)

    def start_following(self) -> None:
        """Start to follow the changes of other processes, if that has not started yet."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="follow-changes")

    async def close(self) -> None:
        """Stop following."""
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self) -> None:
        last: int | None = None
        while True:
            try:
                last = await self._notify_changes(last)
                await self._database.changed()
            except StoreUnavailable:
                self.notify_all()  # subscribers get the error from their own read
                await asyncio.sleep(_RETRY_DELAY)

    async def _notify_changes(self, last: int | None) -> int:
        """Notify all events after the event `last`; returns the newest `seq`.

        With None, any generation may have changed before, so all subscribers are notified.
        """
        if last is None:
            last = await self._database.read(events.newest_seq)
            self.notify_all()
        more = True
        while more:
            changes = await events.fetch_changes_after(self._database, last, _BATCH)
            for last, generation_id in changes:  # noqa: B007 - used after the loop
                self.notify(generation_id)
            more = len(changes) == _BATCH
        self._cache.mark_current(_CURRENT_FOR)
        return last

    def notify_all(self) -> None:
        """Clear the cache and wake all subscribers: any generation may have changed."""
        self._cache.clear()
        for subscribers in self._subscribers.values():
            for event in subscribers:
                event.set()


async def wait_until_set(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, but at most for `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
