"""Group reads: all who want one row each at the same time share one query.

Who comes while a query is under way waits for the next one, so nobody is answered from before
the question. Under load a database in another process is asked once for dozens of callers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

V = TypeVar("V")

_MOST = 500  # keys of one query


class GroupedReads(Generic[V]):
    """Reads values by key.

    Args:
        read: the values of those keys that there are.
    """

    def __init__(self, read: Callable[[list[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._read = read
        self._waiting: list[tuple[str, asyncio.Future[V | None]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V | None:
        """The value of that key, as it is now or became meanwhile; None if there is none."""
        wanted: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, wanted))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all(), name="grouped-reads")
        return await wanted

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._answer([each for each in group if not each[1].done()])
        finally:
            self._reading = None

    async def _answer(self, group: list[tuple[str, asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._read([*{key for key, _ in group}])
        except Exception as error:  # noqa: BLE001 - it is its callers'
            for _, wanted in group:
                if not wanted.done():
                    wanted.set_exception(error)
            return
        for key, wanted in group:
            if not wanted.done():  # its caller has gone
                wanted.set_result(found.get(key))
