"""Reads through the driver, without SQLAlchemy, whose overhead would be half of a lookup.

Small queries and searches have separate connection pools, so that searches cannot use up the
connections of lookups, and neither can use up those of writers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from service.storage.engine.database import Row
from service.storage.engine.search_slots import SearchSlots, search_timeout

_SMALL_CONNECTIONS = 2
_SEARCH_CONNECTIONS = 3
_SMALL_POOL, _SEARCH_POOL = range(2)  # indexes of the pools
_SMALL_TIMEOUT = 10.0  # seconds for a small query
_CANCEL_TIMEOUT = 5.0  # seconds
_CANCEL_INTERVAL = 0.1  # seconds
# Only a query that is older than the interval: the process may already run the next one.
_CANCEL = """SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE pid = $1 AND state = 'active' AND query_start < clock_timestamp() - interval '0.1 s'"""
BY_KEY = {"enable_seqscan": "off"}
"""Settings for connections whose queries all use an index. A plan that was made while the table was
small would scan the whole table until there are statistics."""
Connect = Callable[..., Awaitable[asyncpg.Connection]]


class PostgresReader:
    """Two connection pools, one for small queries and one for searches. They connect on demand.

    Args:
        connect: opens a connection.
        pooled: whether there is a pooler. It assigns a server process per transaction, so a
            statement must be prepared and run in one transaction.
        longest_search: the timeout of a search, in seconds.
    """

    def __init__(self, connect: Connect, *, pooled: bool, longest_search: float) -> None:
        self._connect = connect
        self._longest_search = longest_search
        self._slots = SearchSlots(_SEARCH_CONNECTIONS)
        self._pooled = pooled
        self._pools: tuple[asyncpg.Pool, ...] = ()

    async def open(self) -> None:
        """Create the pools. They open no connection yet."""
        # The server ends a search by itself if this process stops before it can cancel it.
        timeout = {"statement_timeout": f"{self._longest_search * 1000:.0f}"}
        by_key, timeout = ({}, {}) if self._pooled else (BY_KEY, timeout)  # poolers reject them
        self._pools = (
            await _pool(self._connect, _SMALL_CONNECTIONS, by_key),
            await _pool(self._connect, _SEARCH_CONNECTIONS, timeout),
        )

    async def fetch(self, sql: str, values: tuple[object, ...]) -> Sequence[Row]:
        """Run a small query and return its rows."""
        return await self._query(_SMALL_POOL, _SMALL_TIMEOUT, sql, values)

    async def search(self, sql: str, values: tuple[object, ...]) -> Sequence[Row]:
        """Run a query that may take long, in a search slot, and return its rows."""
        async with self._slots.slot():
            try:
                return await self._query(_SEARCH_POOL, self._longest_search, sql, values)
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise search_timeout(self._longest_search) from error

    async def reconnect(self) -> None:
        """Replace each connection before its next query."""
        for pool in self._pools:
            await pool.expire_connections()

    async def close(self) -> None:
        """Close every connection, after its query or cancellation."""
        await asyncio.gather(*(pool.close() for pool in self._pools))

    async def _query(
        self, pool: int, seconds: float, sql: str, values: tuple[object, ...]
    ) -> Sequence[Row]:
        try:
            async with asyncio.timeout(seconds), self._acquired(self._pools[pool]) as connection:
                found: Sequence[Row]
                if not self._pooled:
                    found = await connection.fetch(sql, *values)
                    return found
                async with connection.transaction(readonly=True):
                    found = await connection.fetch(sql, *values)
                    return found
        except asyncpg.InterfaceError as error:  # the connection was lost
            raise ConnectionError(str(error)) from error

    @asynccontextmanager
    async def _acquired(self, pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
        """Borrow a connection. A query that still runs when the block is left is cancelled."""
        connection = await pool.acquire()
        try:
            yield connection
        except BaseException:
            await asyncio.shield(self._cancel(pool, connection))
            raise
        await pool.release(connection)

    async def _cancel(self, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        """Return a connection to its pool, and until it is there, cancel its query.

        The driver cancels once. A server ignores that if it overtakes the query, which would then
        run until its timeout and keep others waiting.
        """
        server_process = connection.get_server_pid()
        releasing = asyncio.ensure_future(pool.release(connection, timeout=_CANCEL_TIMEOUT))
        with suppress(TimeoutError):  # then the connection was closed
            while not (await asyncio.wait({releasing}, timeout=_CANCEL_INTERVAL))[0]:
                if not self._pooled:  # a pooler hides the process
                    with suppress(asyncpg.PostgresError, OSError):
                        await self.fetch(_CANCEL, (server_process,))
            await releasing


def _pool(connect: Connect, size: int, settings: Mapping[str, str]) -> asyncpg.Pool:
    async def open_(*_: object, **arguments: Any) -> asyncpg.Connection:
        """Use only the classes that the pool passes; `connect` knows the address and settings."""
        classes = {name: arguments[name] for name in ("connection_class", "record_class")}
        return await connect(settings=settings, **classes)

    # A reset after each query would cost as much as the query, and queries leave no session state.
    return asyncpg.create_pool(min_size=0, max_size=size, connect=open_, reset=_no_reset)


async def _no_reset(_connection: asyncpg.Connection) -> None:
    """Do nothing."""
