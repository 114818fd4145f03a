"""SQLite: one file in WAL mode, reads in threads, and one writer thread for group commit.

`fetch_nowait` uses no thread. In WAL mode no writer can block readers, and reading a few rows takes
a fifth of the time of switching to a thread and back. A query that takes longer than two
milliseconds is interrupted and repeated in a thread; searches have threads of their own.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StoreUnavailable
from service.metrics import COMMIT_SECONDS
from service.storage.engine.database import (
    Database,
    Dialect,
    Row,
    Write,
    groups,
    run_as_one,
    run_separately,
)
from service.storage.engine.failures import is_database_failure, unavailable
from service.storage.engine.interruptible import InterruptibleConnection, was_stopped
from service.storage.engine.search_slots import SearchSlots, search_timeout
from service.storage.engine.sqlite_connections import having_waited, make_engine, stored_time

P = ParamSpec("P")
T = TypeVar("T")

_READ_THREADS = 4
_SEARCH_THREADS = 2  # few, because searches use much CPU time
_NOWAIT_TIMEOUT = 0.002  # seconds
_NOWAIT_STEPS = 1_000  # SQLite instructions between checks of the timeout, about 0.05 ms
_SEARCH_STEPS = 50_000
_POLL_INTERVAL = 0.02  # seconds between checks for commits of other processes
_MAX_POLLS = 50  # then `changed` returns in any case


class Sqlite(Database):
    """A database in one SQLite file.

    Args:
        url: `sqlite:///path`.
        commit_delay: after a commit of many writes, the seconds for which the next one waits for
            new writes of the same callers. Python runs one thread at a time, so it is better if
            the writer and the event loop alternate.
        longest_search: the timeout of a search, in seconds.
    """

    dialect = Dialect.SQLITE

    def __init__(
        self, url: str, *, commit_delay: float = 0.004, longest_search: float = 10.0
    ) -> None:
        super().__init__(commit_delay)
        self._longest_search = longest_search
        self.engine = make_engine(url)
        self._readers = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="db-read")
        self._searchers = ThreadPoolExecutor(_SEARCH_THREADS, thread_name_prefix="db-search")
        self._search_slots = SearchSlots(_SEARCH_THREADS)
        self._idle_search_connections: list[InterruptibleConnection] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        # Reused, because it caches pages and statements.
        self._write_connection: Connection | None = None
        self._nowait_connection: InterruptibleConnection | None = None  # for `fetch_nowait`
        self._data_version: object = None

    async def __aenter__(self) -> Self:
        with suppress(StoreUnavailable, sqlite3.Error):  # reads and writes will report it
            self._nowait_connection = await self._in_thread(self._open_nowait_connection)
        return await super().__aenter__()

    def _open_nowait_connection(self) -> InterruptibleConnection:
        connection = self._connect()
        connection.execute("PRAGMA busy_timeout=0")
        return InterruptibleConnection(connection, _NOWAIT_STEPS)

    def _connect(self) -> sqlite3.Connection:
        """Open a connection that is detached from SQLAlchemy and usable in any thread."""
        pooled = self.engine.raw_connection()
        connection = cast("sqlite3.Connection", pooled.driver_connection)
        pooled.detach()
        return connection

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that sees one snapshot of the database."""

        def run() -> T:
            with self.engine.begin() as connection:
                return fn(connection, *args, **kwargs)

        return await self._in_thread(run)

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """Run a small query, without a thread if possible."""
        found = self.fetch_nowait(sql, *values)
        return found if found is not None else await self.read(_fetch, sql, _as_text(values))

    async def search(self, sql: str, *values: object) -> Sequence[Row]:
        """Run a query; if it takes long, in a thread that only searches use."""
        found = self.fetch_nowait(sql, *values)
        return found if found is not None else await self.search_long(sql, *values)

    async def search_long(self, sql: str, *values: object) -> Sequence[Row]:
        """Run a query in a thread that only searches use."""
        async with self._search_slots.slot(), self._search_connection() as connection:
            searching = asyncio.get_running_loop().run_in_executor(
                self._searchers, connection.fetch, sql, _as_text(values), self._longest_search
            )
            try:
                return await asyncio.shield(searching)
            except asyncio.CancelledError:
                await _end(searching, connection)
                raise
            except sqlite3.Error as error:
                timeout = search_timeout(self._longest_search) if was_stopped(error) else None
                raise timeout or unavailable(error) from error

    @asynccontextmanager
    async def _search_connection(self) -> AsyncIterator[InterruptibleConnection]:
        """Lend a search connection. There is at most one for each search slot."""
        connection = (
            self._idle_search_connections.pop()
            if self._idle_search_connections
            else await self._in_thread(self._open_search_connection)
        )
        try:
            yield connection
        finally:
            self._idle_search_connections.append(connection)

    def _open_search_connection(self) -> InterruptibleConnection:
        return InterruptibleConnection(self._connect(), _SEARCH_STEPS)

    async def exclusively(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` as the only writer, in the writer thread."""

        def run() -> T:
            connecting = self.engine.connect().execution_options(writes=True)
            with connecting as connection, connection.begin():
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    def fetch_nowait(self, sql: str, *values: object) -> list[tuple[Any, ...]] | None:
        """Run a query in this thread; None if it takes too long or is not possible now."""
        if self._nowait_connection is None:
            return None
        try:
            return self._nowait_connection.fetch(sql, _as_text(values), _NOWAIT_TIMEOUT)
        except sqlite3.Error:
            return None

    async def changed(self) -> None:
        """Poll until any process has committed."""
        for _ in range(_MAX_POLLS):
            await asyncio.sleep(_POLL_INTERVAL)
            if (version := self.fetch_nowait("PRAGMA data_version")) != self._data_version:
                self._data_version = version
                return

    async def _in_thread(self, run: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except (DBAPIError, PoolTimeout) as error:
            raise unavailable(error) from error

    async def _commit(self, batch: list[Write]) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self._commit_now, batch)

    def _commit_now(self, batch: list[Write]) -> None:
        """Run a batch in the writer thread."""
        try:
            connection = self._write_connection = (
                self._write_connection or self._open_write_connection()
            )
            waited = time.monotonic() - batch[0].queued_at
            with having_waited(connection, waited), COMMIT_SECONDS.time():
                _run(connection, batch)
        except Exception as error:  # noqa: BLE001 - whatever the error, nothing is on disk
            self._close_write_connection()
            failure = unavailable(error)
            for write in batch:
                write.result = failure

    def _open_write_connection(self) -> Connection:
        return self.engine.connect().execution_options(writes=True)

    def _close_write_connection(self) -> None:
        if self._write_connection:
            self._write_connection.close()
            self._write_connection = None

    async def close(self) -> None:
        """Close every connection, and stop the threads."""
        self._readers.shutdown()
        self._writer.shutdown()
        self._close_write_connection()
        self._searchers.shutdown()
        for connection in filter(None, (self._nowait_connection, *self._idle_search_connections)):
            connection.close()
        self.engine.dispose()


async def _end(searching: asyncio.Future[Any], connection: InterruptibleConnection) -> None:
    """End a search whose caller was cancelled.

    anyio, and so Starlette, cancels again and again; but nobody else may have the connection yet.
    """
    while not searching.done():
        connection.stop()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([searching], timeout=_NOWAIT_TIMEOUT)
    searching.exception()  # mark it as retrieved


def _fetch(connection: Connection, sql: str, values: tuple[object, ...]) -> Sequence[Row]:
    return connection.exec_driver_sql(sql, values).all()


def _as_text(values: tuple[object, ...]) -> tuple[object, ...]:
    """Convert times to the form in which they are stored."""
    return tuple(stored_time(value) if isinstance(value, datetime) else value for value in values)


def _run(connection: Connection, batch: list[Write]) -> None:
    try:
        with connection.begin():
            for writes in groups(batch):
                run_as_one(connection, writes)
    except Exception as error:
        if is_database_failure(error):
            raise
        with connection.begin():
            run_separately(connection, batch)
