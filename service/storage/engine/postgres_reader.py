"""Reads past SQLAlchemy, straight from the driver: what it costs would be half of a lookup.

Small questions and searches have connections of their own, so that no search can take those of
a lookup, and neither those of a writer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg

from service.storage.engine.database import Row
from service.storage.engine.search_slots import SearchSlots, too_long

_SMALL = 2  # connections
_SEARCHES = 3
_OF_SMALL, _OF_LONG = range(2)  # which of the pools
_LONGEST = 10.0  # seconds for a small question
BY_KEY = {"enable_seqscan": "off"}
"""For who finds all rows by an index: a plan that was made while the table was small would read
the whole of it until there are statistics."""
Connect = Callable[..., Awaitable[asyncpg.Connection]]


class PostgresReader:
    """Two pools, whose connections are opened as they are needed.

    Args:
        connect: opens a connection.
        pooled: whether a pooler keeps us at one server process only for a transaction, so that to
            prepare a statement and to run it have to be in one.
        longest_search: seconds that a search may take.
    """

    def __init__(self, connect: Connect, *, pooled: bool, longest_search: float) -> None:
        self._connect = connect
        self._longest_search = longest_search
        self._lane = SearchSlots(_SEARCHES)
        self._pooled = pooled
        self._pools: tuple[asyncpg.Pool, ...] = ()

    async def open(self) -> None:
        """Begin; nobody is connected yet."""
        # The server itself ends a search, should we be gone before we can say so.
        timeout = {"statement_timeout": f"{self._longest_search * 1000:.0f}"}
        by_key, timeout = ({}, {}) if self._pooled else (BY_KEY, timeout)  # poolers take none
        small, long = _pool(self._connect, _SMALL, by_key), _pool(self._connect, _SEARCHES, timeout)
        self._pools = (await small, await long)

    async def fetch(self, sql: str, values: tuple[object, ...]) -> Sequence[Row]:
        """The rows of a small question."""
        return await self._ask(_OF_SMALL, _LONGEST, sql, values)

    async def search(self, sql: str, values: tuple[object, ...]) -> Sequence[Row]:
        """The rows of a question that may take long."""
        async with self._lane.turn():
            try:
                return await self._ask(_OF_LONG, self._longest_search, sql, values)
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise too_long(self._longest_search) from error

    def close(self) -> None:
        """Let go of every connection."""
        for pool in self._pools:
            pool.terminate()

    async def _ask(
        self, pool: int, seconds: float, sql: str, values: tuple[object, ...]
    ) -> Sequence[Row]:
        try:
            async with asyncio.timeout(seconds), self._pools[pool].acquire() as connection:
                found: Sequence[Row]
                if not self._pooled:
                    found = await connection.fetch(sql, *values)
                    return found
                async with connection.transaction(readonly=True):
                    found = await connection.fetch(sql, *values)
                    return found
        except asyncpg.InterfaceError as error:  # the connection was lost on the way
            raise ConnectionError(str(error)) from error


def _pool(connect: Connect, size: int, settings: Mapping[str, str]) -> asyncpg.Pool:
    async def open_(*_: object, **given: Any) -> asyncpg.Connection:
        """Where and how is ours to know; of what class it is, the pool's."""
        classes = {name: given[name] for name in ("connection_class", "record_class")}
        return await connect(settings=settings, **classes)

    # A reset after each question would cost as much as the question, and we leave nothing behind.
    return asyncpg.create_pool(min_size=0, max_size=size, connect=open_, reset=_nothing)


async def _nothing(_connection: asyncpg.Connection) -> None:
    """There is nothing to tidy up."""
