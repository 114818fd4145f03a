"""A bound on work of one kind: so many at once, the others wait a while, or are refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import StoreUnavailable

_PATIENCE = 5.0  # seconds
_WAITING = 256


class SearchSlots:
    """Lets searches through, few at a time.

    Args:
        at_once: how many may run.
        patience: seconds that others wait for their turn.
    """

    def __init__(self, at_once: int, patience: float = _PATIENCE) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._patience = patience
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Run a search inside this.

        Raises:
            StoreUnavailable: too many are under way.
        """
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()  # at once
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self._waiting >= _WAITING:
            raise _too_many()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError as error:
            raise _too_many() from error
        finally:
            self._waiting -= 1


def too_long(seconds: float) -> StoreUnavailable:
    """What is told of a search that was ended."""
    return StoreUnavailable(
        f"The search took longer than {seconds:g} s.", "Search for less, or add a filter."
    )


def _too_many() -> StoreUnavailable:
    return StoreUnavailable(
        "Too many searches are under way.", "Ask again in a moment, or search for less."
    )
