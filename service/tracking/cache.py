"""Generations as they are sent, kept ready in memory.

What is kept is what a read of the database would say: whoever learns of a change drops the
generation here, and a read that was under way meanwhile is not kept. Changes made by other
processes are found by `Changes`, which says for how long we may rely on having heard of all.
"""

import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service.storage.representation import Representation

_AROUND = 500  # bytes that an entry takes beside its body


class PendingRead:
    """A read of the database that is under way, or was."""

    invalidated = False


class Cache:
    """The most recently asked-for generations.

    Args:
        size: bytes that they may take in all; 0 keeps nothing.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._kept: OrderedDict[str, Representation] = OrderedDict()
        self._readings: defaultdict[str, set[PendingRead]] = defaultdict(set)
        self._current_until = 0.0

    @property
    def is_current(self) -> bool:
        """Whether we keep anything, and would have heard of every change."""
        return time.monotonic() < self._current_until

    def mark_current(self, seconds: float) -> None:
        """All that had changed until now is known here; the next look is within `seconds`."""
        if self._size:
            self._current_until = time.monotonic() + seconds

    def get(self, generation_id: str) -> Representation | None:
        """What is kept of it, if that can be relied on."""
        kept = self._kept.get(generation_id)
        if kept is None or time.monotonic() >= self._current_until:
            return None
        self._kept.move_to_end(generation_id)
        return kept

    @contextmanager
    def reading(self, generation_id: str) -> Iterator[PendingRead]:
        """Around a read of the database whose answer is to be kept."""
        reading = PendingRead()
        self._readings[generation_id].add(reading)
        try:
            yield reading
        finally:
            readings = self._readings[generation_id]
            readings.discard(reading)
            if not readings:
                del self._readings[generation_id]

    def keep(self, representation: Representation, reading: PendingRead | None = None) -> None:
        """Keep what was read just now, or by a `reading`, unless it has changed since."""
        if not self.is_current or (reading and reading.invalidated):
            return
        self._remove(representation.id)
        self._kept[representation.id] = representation
        self._taken += _cost(representation)
        while self._taken > self._size:
            self._taken -= _cost(self._kept.popitem(last=False)[1])

    def invalidate(self, generation_id: str) -> None:
        """It may have changed."""
        self._remove(generation_id)
        self._invalidate_reads(generation_id)

    def invalidate_older(self, generation_id: str, rev: int) -> None:
        """Somebody is being told of this `rev`, so what is older must not be told any more."""
        kept = self._kept.get(generation_id)
        if kept and kept.rev < rev:
            self.invalidate(generation_id)
        self._invalidate_reads(generation_id)  # what is being read may be older, too

    def clear(self) -> None:
        """Anything may have changed, and we may not hear of it."""
        self._current_until = 0.0
        self._kept.clear()
        self._taken = 0
        for readings in self._readings.values():
            for reading in readings:
                reading.invalidated = True

    def _invalidate_reads(self, generation_id: str) -> None:
        for reading in self._readings.get(generation_id, ()):
            reading.invalidated = True

    def _remove(self, generation_id: str) -> None:
        if kept := self._kept.pop(generation_id, None):
            self._taken -= _cost(kept)


def _cost(representation: Representation) -> int:
    return sys.getsizeof(representation.body) + _AROUND
