"""Wakes whoever waits for a generation to change.

Changes made by this process are told by name, at once. Those of other processes on the same
database (another instance, a stdio server, the command line) are found in the history, which
is followed only while somebody waits.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service import store
from service.db import Database
from service.errors import StoreUnavailable

_PAUSE = 0.05  # seconds between looks at a database that has failed
_AT_ONCE = 1000  # events read at once


class Changes:
    """Who waits for which generation; `ANY` stands for all of them."""

    ANY = ""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._watch: asyncio.Task[None] | None = None

    def tell(self, generation_id: str) -> None:
        """This generation has changed."""
        for name in (generation_id, self.ANY):
            for event in self._waiting.get(name, ()):
                event.set()

    @contextmanager
    def expect(self, generation_id: str) -> Iterator[asyncio.Event]:
        """An event that is set, from now on, whenever the generation may have changed."""
        event = asyncio.Event()
        self._waiting[generation_id].add(event)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._follow(), name="watch-changes")
        try:
            yield event
        finally:
            self._waiting[generation_id].discard(event)
            if not self._waiting[generation_id]:
                del self._waiting[generation_id]

    async def close(self) -> None:
        """Stop watching."""
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _follow(self) -> None:
        last: int | None = None
        while self._waiting:
            try:
                last = await self._tell_news(last)
                await self._database.changed()
            except StoreUnavailable:
                self.wake_all()  # whoever waits finds out when it reads
                await asyncio.sleep(_PAUSE)

    async def _tell_news(self, last: int | None) -> int:
        """Tell what the history has behind `last`; at first nobody knows what was missed."""
        if last is None:
            last = await self._database.read(store.last_event)
            self.wake_all()
        while news := await self._database.read(store.events_after, last, _AT_ONCE):
            for event in news:
                self.tell(event.generation_id)
            last = news[-1].seq
        return last

    def wake_all(self) -> None:
        """Any of them may have changed."""
        for events in self._waiting.values():
            for event in events:
                event.set()


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Return as soon as it is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
