"""One flight per id: whoever asks for the same thing at the same time shares one answer."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from service.errors import NotFound

T = TypeVar("T")

_REMEMBERED = timedelta(seconds=5)
_MOST_ABSENCES = 10_000


class SingleFlight(Generic[T]):
    """Runs at most one call per key at a time; late-comers wait for the one under way."""

    def __init__(self) -> None:
        self._flying: dict[str, asyncio.Task[T]] = {}

    async def join(self, key: str, start: Callable[[], Awaitable[T]]) -> T:
        """The answer of the flight under `key`, started if there is none.

        A caller that is cancelled leaves; the flight goes on for the others.
        """
        return await asyncio.shield(self.launch(key, start))

    def launch(self, key: str, start: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """The flight under `key`, started if there is none; for callers who need not wait."""
        if flying := self._flying.get(key):
            return flying
        task = asyncio.ensure_future(_called(start))
        self._flying[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        del self._flying[key]
        if not task.cancelled():
            task.exception()  # seen: nobody may be waiting any more, and that is no accident

    async def close(self) -> None:
        """Cancel what still flies, and wait until it is down."""
        flying = list(self._flying.values())
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)


async def _called(start: Callable[[], Awaitable[T]]) -> T:
    return await start()


class NegativeCache:
    """Remembers for a few seconds that an id is unknown to Luma.

    Only ids that are not stored are looked for here, so a callback that names one ends its
    absence at once.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._until: dict[str, tuple[datetime, str, str]] = {}

    def add(self, key: str, absence: NotFound) -> None:
        """Luma has just said that it does not know it."""
        if len(self._until) >= _MOST_ABSENCES:
            self._until.clear()
        self._until[key] = (self._clock() + _REMEMBERED, str(absence), absence.hint)

    def check(self, key: str) -> None:
        """Raises NotFound again, if Luma said so within the last seconds."""
        now = self._clock()
        until, message, hint = self._until.get(key, (now, "", ""))
        if now < until <= now + _REMEMBERED:  # or the clock was ahead when it was noted
            raise NotFound(message, hint)
        self._until.pop(key, None)
