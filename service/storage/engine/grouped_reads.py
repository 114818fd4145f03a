"""Grouped reads: concurrent reads by key share one query.

A read that is requested while a query is running waits for the next query, so that its result is
never older than the request. Under load, one query serves dozens of callers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

V = TypeVar("V")

_MAX_KEYS = 500  # in one query


class GroupedReads(Generic[V]):
    """Reads values by key.

    Args:
        read: returns the values for a list of keys, without keys that do not exist.
    """

    def __init__(self, read: Callable[[list[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._read = read
        self._waiting: list[tuple[str, asyncio.Future[V | None]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V | None:
        """Return the value of a key, no older than this call; None if there is none."""
        wanted: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, wanted))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all(), name="grouped-reads")
        return await wanted

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MAX_KEYS], self._waiting[_MAX_KEYS:]
                await self._read_group([each for each in group if not each[1].done()])
        finally:
            self._reading = None

    async def _read_group(self, group: list[tuple[str, asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._read([*{key for key, _ in group}])
        except Exception as error:  # noqa: BLE001 - raised at the callers
            for _, wanted in group:
                if not wanted.done():
                    wanted.set_exception(error)
            return
        for key, wanted in group:
            if not wanted.done():  # its caller was cancelled
                wanted.set_result(found.get(key))
