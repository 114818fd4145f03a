"""Single-flight execution of fetches, and a negative cache for unknown ids."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from service.errors import NotFound

T = TypeVar("T")

_LIFETIME = timedelta(seconds=5)
_MAX_ENTRIES = 10_000


class SingleFlight(Generic[T]):
    """Runs at most one call per key at a time; concurrent callers share its result."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[T]] = {}

    async def join(self, key: str, start: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the running call for `key`; start one if there is none.

        If a caller is cancelled, the call continues for the others.
        """
        return await asyncio.shield(self.launch(key, start))

    def is_running(self, key: str) -> bool:
        """Return whether a call for `key` is running."""
        return key in self._running

    def launch(self, key: str, start: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """Return the running call for `key` without waiting for it; start one if there is none."""
        if running := self._running.get(key):
            return running
        task = asyncio.ensure_future(_call(start))
        self._running[key] = task
        task.add_done_callback(lambda done: self._finished(key, done))
        return task

    def _finished(self, key: str, task: asyncio.Task[T]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # mark it as retrieved: all callers may have been cancelled

    async def close(self) -> None:
        """Cancel all running calls, and wait until they have ended."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _call(start: Callable[[], Awaitable[T]]) -> T:
    return await start()


class NegativeCache:
    """Remembers for 5 seconds that an id is unknown, to all upstreams or to one.

    It is consulted only for ids that are not stored, so an entry has no effect once a callback
    has reported the generation.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[datetime, NotFound]] = {}

    def add(self, key: str, error: NotFound) -> None:
        """Remember that the id is unknown."""
        if len(self._entries) >= _MAX_ENTRIES:
            self._entries.clear()
        self._entries[key] = (self._clock() + _LIFETIME, _copy(error))

    def check(self, key: str) -> None:
        """Raise a copy of the remembered error, if the id has an entry.

        Raises:
            NotFound: the id was unknown within the last 5 seconds.
        """
        now = self._clock()
        entry = self._entries.get(key)
        if entry and now < entry[0] <= now + _LIFETIME:  # a later time: the clock was ahead
            raise _copy(entry[1])
        self._entries.pop(key, None)


def _copy(error: NotFound) -> NotFound:
    """Return the error without its traceback."""
    copied = NotFound(str(error), error.hint)
    copied.answer = error.answer
    return copied
