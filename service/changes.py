"""Wakes whoever waits for a generation to change.

Changes made by this process are told by name. Those of another process on the same database
(a stdio server, the command line) show in the database's version, which is looked at only
while somebody waits; they wake everyone, and everyone looks again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from service.errors import StoreUnavailable

_INTERVAL = 0.05  # seconds between looks at the version


class Changes:
    """Who waits for which generation.

    Args:
        version: a number that changes whenever anybody has committed.
    """

    def __init__(self, version: Callable[[], Awaitable[int]]) -> None:
        self._version = version
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._watch: asyncio.Task[None] | None = None

    def tell(self, generation_id: str) -> None:
        """This generation has changed."""
        for event in self._waiting.get(generation_id, ()):
            event.set()

    @contextmanager
    def expect(self, generation_id: str) -> Iterator[asyncio.Event]:
        """An event that is set, from now on, whenever the generation may have changed."""
        event = asyncio.Event()
        self._waiting[generation_id].add(event)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_version(), name="watch-changes")
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

    async def _watch_version(self) -> None:
        seen = None
        while self._waiting:
            try:
                version = await self._version()
            except StoreUnavailable:
                version = None  # whoever waits finds out when it reads
            if version != seen:
                seen = version
                self.wake_all()
            await asyncio.sleep(_INTERVAL)

    def wake_all(self) -> None:
        """Any of them may have changed."""
        for events in self._waiting.values():
            for event in events:
                event.set()
