"""The events of all generations in one append-only order.

An event's `seq` is the position of a reader: it remembers the last `seq` that it has received, and
requests the events after it, from any instance, also after a restart. `Changes` only signals when
to read again.
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

_BATCH = 200  # the maximum number of events in a batch for a follower
_TURNS = 2  # the maximum number of followers that read at the same time
_RETRY_DELAY = 1.0  # seconds before a follower reads again after the database has failed


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Consecutive events, oldest first."""

    events: list[Event]
    missed: bool = False
    """Whether events between the requested position and these may have been deleted, because
    they were older than the retention."""


class History:
    """Reads the events of all generations."""

    def __init__(self, database: Database, changes: Changes, cache: Cache) -> None:
        self._database = database
        self._changes = changes
        self._cache = cache
        self._turns = asyncio.Semaphore(_TURNS)
        self._stopping = False

    def stop_waiting(self) -> None:
        """Prepare to stop: `wait` and `follow` end at the next notification."""
        self._stopping = True

    async def newest(self) -> int:
        """Return the `seq` of the newest event; 0 if there is none."""
        return await self._database.read(events.newest_seq)

    async def after(self, seq: int, limit: int) -> EventBatch:
        """Return up to `limit` events after the position `seq`."""
        found = await self._database.read(events.after, seq, limit)
        for event in found:
            self._cache.invalidate_older(event.generation_id, event.rev)
        return EventBatch(found, missed=await self._has_gap(seq, found))

    async def wait(self, seq: int, limit: int, seconds: float) -> EventBatch:
        """Like `after`, but if there is no event yet, wait for one for up to `seconds`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        with self._changes.subscribe(Changes.ANY) as changed:
            found = await self._in_turn(seq, limit)
            while not (found.events or self._stopping) and (left := deadline - clock()) > 0:
                await wait_until_set(changed, left)
                changed.clear()  # before the read, so that no change in between is missed
                found = await self._in_turn(seq, limit)
        return found

    async def follow(self, seq: int, heartbeat: float) -> AsyncGenerator[EventBatch, None]:
        """Yield the events after the position `seq` as they are recorded, until the service stops.

        A batch is read only when the consumer has processed the one before, so a slow consumer
        takes no memory. While the database fails, empty batches are yielded.

        Args:
            seq: the last `seq` that the consumer has received.
            heartbeat: seconds without an event after which an empty batch is yielded.
        """
        while not self._stopping:
            try:
                found = await self.wait(seq, _BATCH, heartbeat)
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_DELAY)
                found = EventBatch([])
            yield found
            seq = found.events[-1].seq if found.events else seq

    async def _in_turn(self, seq: int, limit: int) -> EventBatch:
        """Like `after`, but hundreds of readers that are far behind do not read all at once.

        Lookups and callbacks would wait for all of them.
        """
        async with self._turns:
            return await self.after(seq, limit)

    async def _has_gap(self, seq: int, found: list[Event]) -> bool:
        """Return whether events after `seq` may have been deleted.

        A gap in the numbers alone proves nothing: rolled-back writes also leave gaps.
        """
        if seq == 0 or not found or found[0].seq == seq + 1:
            return False
        return await self._database.read(events.oldest_seq) > seq
