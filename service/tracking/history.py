"""Every change of every generation, in one order that grows at its end only.

The numbers of events are the truth: a reader keeps the last that it has seen and asks for what
is behind it, of whatever instance, today or after a restart. `Changes` only says when to look.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from service.errors import StoreUnavailable
from service.storage import events
from service.storage.engine import Database
from service.storage.events import Event
from service.tracking.cache import Cache
from service.tracking.changes import Changes, wait_until_set

_AT_ONCE = 200  # events that a follower is given together
_PAUSE = 1.0  # seconds before a follower looks again at a database that has failed


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events in their order.

    `missed`: what was between them and the number that they were asked by may have gone with
    the retention.
    """

    events: list[Event]
    missed: bool = False


class History:
    """What readers of the whole history are given."""

    def __init__(self, database: Database, changes: Changes, cache: Cache) -> None:
        self._database = database
        self._changes = changes
        self._cache = cache
        self._stopping = False

    def stop_waiting(self) -> None:
        """We are about to stop: whoever is woken now need not wait on."""
        self._stopping = True

    async def newest(self) -> int:
        """The number of the newest event; 0 if there is none."""
        return await self._database.read(events.newest_seq)

    async def after(self, seq: int, limit: int) -> EventBatch:
        """Up to `limit` events from behind `seq`."""
        found = await self._database.read(events.after, seq, limit)
        for event in found:
            self._cache.invalidate_older(event.generation_id, event.rev)
        return EventBatch(found, missed=await self._lacks(seq, found))

    async def wait(self, seq: int, limit: int, seconds: float) -> EventBatch:
        """As `after`, but answers as soon as there is an event, or after `seconds`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        with self._changes.subscribe(Changes.ANY) as changed:
            found = await self.after(seq, limit)
            while not (found.events or self._stopping) and (left := deadline - clock()) > 0:
                await wait_until_set(changed, left)
                changed.clear()  # before we look, so that nothing slips in between
                found = await self.after(seq, limit)
        return found

    async def follow(self, seq: int, quiet: float) -> AsyncGenerator[EventBatch, None]:
        """Events from behind `seq` as they come, until we stop; none after `quiet` seconds.

        The next are read when the last were taken, so a slow reader costs no memory. A database
        that fails is quiet: the reader has only to be patient.
        """
        while not self._stopping:
            try:
                found = await self.wait(seq, _AT_ONCE, quiet)
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE)
                found = EventBatch([])
            yield found
            seq = found.events[-1].seq if found.events else seq

    async def _lacks(self, seq: int, found: list[Event]) -> bool:
        """Numbers are also skipped by writes that were undone, so a gap alone says nothing."""
        if seq == 0 or not found or found[0].seq == seq + 1:
            return False
        return await self._database.read(events.oldest_seq) > seq
