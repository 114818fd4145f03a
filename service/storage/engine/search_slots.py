"""A limit on concurrent searches: further ones wait for a slot, and time out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import StoreUnavailable

_WAIT_TIMEOUT = 5.0  # seconds
_MAX_WAITING = 256


class SearchSlots:
    """Limits the number of concurrent searches.

    Args:
        slots: the number of searches that may run at the same time.
        timeout: the seconds that a search waits for a slot.
    """

    def __init__(self, slots: int, timeout: float = _WAIT_TIMEOUT) -> None:
        self._free = asyncio.Semaphore(slots)
        self._timeout = timeout
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot while a search runs.

        Raises:
            StoreUnavailable: no slot became free in time, or too many searches are waiting.
        """
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()  # does not wait
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self._waiting >= _MAX_WAITING:
            raise _too_many()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError as error:
            raise _too_many() from error
        finally:
            self._waiting -= 1


def search_timeout(seconds: float) -> StoreUnavailable:
    """Return the error for a search that was stopped after its timeout."""
    return StoreUnavailable(
        f"The search took longer than {seconds:g} s.", "Search for fewer words, or add a filter."
    )


def _too_many() -> StoreUnavailable:
    return StoreUnavailable(
        "Too many searches are running.", "Retry in a few seconds, or add a filter."
    )
