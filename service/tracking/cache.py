"""An in-memory cache of representations: generations as they are sent.

An entry always equals what the database would return. Whoever learns of a change invalidates the
entry, and a read that overlaps with a change is not cached. `Changes` finds the changes made by
other processes, and marks for how long the cache is known to be current.
"""

import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service.storage.representation import Representation

_ENTRY_OVERHEAD = 500  # bytes that an entry takes in addition to its body


class PendingRead:
    """A database read whose result may be cached, unless it is invalidated meanwhile."""

    invalidated = False


class Cache:
    """An LRU cache of representations, bounded in bytes.

    Args:
        size: the maximum size in bytes; 0 disables the cache.
    """

    def __init__(self, size: int) -> None:
        self._max_size = size
        self._size = 0
        self._entries: OrderedDict[str, Representation] = OrderedDict()
        self._pending_reads: defaultdict[str, set[PendingRead]] = defaultdict(set)
        self._current_until = 0.0

    @property
    def is_current(self) -> bool:
        """Whether the cache is enabled, and all changes up to now are applied to it."""
        return time.monotonic() < self._current_until

    def mark_current(self, seconds: float) -> None:
        """Declare that all changes up to now are applied, and rely on the cache for `seconds`."""
        if self._max_size:
            self._current_until = time.monotonic() + seconds

    def get(self, generation_id: str) -> Representation | None:
        """Return an entry; None if there is none, or if the cache is not current."""
        entry = self._entries.get(generation_id)
        if entry is None or time.monotonic() >= self._current_until:
            return None
        self._entries.move_to_end(generation_id)
        return entry

    @contextmanager
    def reading(self, generation_id: str) -> Iterator[PendingRead]:
        """Enclose a database read whose result is passed to `put`."""
        read = PendingRead()
        self._pending_reads[generation_id].add(read)
        try:
            yield read
        finally:
            reads = self._pending_reads[generation_id]
            reads.discard(read)
            if not reads:
                del self._pending_reads[generation_id]

    def put(self, representation: Representation, read: PendingRead | None = None) -> None:
        """Cache the result of a read, unless the generation may have changed since.

        Args:
            representation: what was read.
            read: the read; None if it took no time on the event loop.
        """
        if not self.is_current or (read and read.invalidated):
            return
        self._remove(representation.id)
        self._entries[representation.id] = representation
        self._size += _entry_size(representation)
        while self._size > self._max_size:
            self._size -= _entry_size(self._entries.popitem(last=False)[1])

    def invalidate(self, generation_id: str) -> None:
        """Remove a generation that may have changed."""
        self._remove(generation_id)
        self._invalidate_reads(generation_id)

    def invalidate_older(self, generation_id: str, rev: int) -> None:
        """Remove an entry that is older than `rev`, because a client is being shown that `rev`."""
        entry = self._entries.get(generation_id)
        if entry and entry.rev < rev:
            self.invalidate(generation_id)
        self._invalidate_reads(generation_id)  # a pending read may return an older rev, too

    def clear(self) -> None:
        """Remove everything, and stop relying on the cache until `mark_current`."""
        self._current_until = 0.0
        self._entries.clear()
        self._size = 0
        for reads in self._pending_reads.values():
            for read in reads:
                read.invalidated = True

    def _invalidate_reads(self, generation_id: str) -> None:
        for read in self._pending_reads.get(generation_id, ()):
            read.invalidated = True

    def _remove(self, generation_id: str) -> None:
        if entry := self._entries.pop(generation_id, None):
            self._size -= _entry_size(entry)


def _entry_size(representation: Representation) -> int:
    bodies = representation.body, representation.luma_body or b""
    return sum(map(sys.getsizeof, bodies)) + _ENTRY_OVERHEAD
