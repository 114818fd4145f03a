"""SQLite: one file in WAL mode, readers in threads, and one writer that commits for all.

`fetch_nowait` needs no thread: it finds a few rows in a file that nobody can lock against readers,
in a fifth of the time that going to a thread and back takes. A query that turns out to be a long
one is interrupted after two milliseconds, and repeated in a thread that only searches use.
"""

import asyncio
import sqlite3
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
    run_apart,
    run_together,
)
from service.storage.engine.failures import is_database_failure, unavailable
from service.storage.engine.interruptible import InterruptibleConnection, was_stopped
from service.storage.engine.search_slots import SearchSlots, too_long
from service.storage.engine.sqlite_connections import instant, make_engine

P = ParamSpec("P")
T = TypeVar("T")

_READERS = 4  # threads for small questions
_SEARCHERS = 2  # threads for long ones: they also compute, and share two cores with all the rest
_NOWAIT = 0.002  # seconds
_STEPS = 1_000  # of SQLite's machine between looks at the clock, some 0.05 ms
_STEPS_OF_SEARCH = 50_000
_LOOK_EVERY = 0.02  # seconds between looks for what another process has committed
_LOOKS = 50  # then one looks for what is new even so


class Sqlite(Database):
    """A file.

    Args:
        url: `sqlite:///path`.
        patience: seconds for which a commit waits for those whom the last one answered, if they
            were many. Python runs one thread at a time: writer and loop had better take turns.
        longest_search: seconds that a search may take.
    """

    dialect = Dialect.SQLITE

    def __init__(self, url: str, *, patience: float = 0.004, longest_search: float = 10.0) -> None:
        super().__init__(patience)
        self._longest_search = longest_search
        self.engine = make_engine(url)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="db-read")
        self._searchers = ThreadPoolExecutor(_SEARCHERS, thread_name_prefix="db-search")
        self._lane = SearchSlots(_SEARCHERS)
        self._idle: list[InterruptibleConnection] = []  # of those who search
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._writing: Connection | None = None  # always the same: it knows pages and statements
        self._near: InterruptibleConnection | None = None  # for `fetch_nowait`, which never wait
        self._version: object = None

    async def __aenter__(self) -> Self:
        with suppress(StoreUnavailable, sqlite3.Error):  # whoever reads or writes will say so
            self._near = await self._in_thread(self._come_near)
        return await super().__aenter__()

    def _come_near(self) -> InterruptibleConnection:
        near = self._connect()
        near.execute("PRAGMA busy_timeout=0")
        return InterruptibleConnection(near, _STEPS)

    def _connect(self) -> sqlite3.Connection:
        """A connection past SQLAlchemy, for any thread."""
        pooled = self.engine.raw_connection()
        connection = cast("sqlite3.Connection", pooled.driver_connection)
        pooled.detach()
        return connection

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that sees one moment of the database."""

        def run() -> T:
            with self.engine.begin() as connection:
                return fn(connection, *args, **kwargs)

        return await self._in_thread(run)

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """Answer from the file, at once if that can be."""
        found = self.fetch_nowait(sql, *values)
        return found if found is not None else await self.read(_ask, sql, _as_text(values))

    async def search(self, sql: str, *values: object) -> Sequence[Row]:
        """The same, in a thread of those who search if it takes long."""
        found = self.fetch_nowait(sql, *values)
        if found is not None:
            return found
        async with self._lane.turn(), self._searching() as connection:
            searching = asyncio.get_running_loop().run_in_executor(
                self._searchers, connection.ask, sql, _as_text(values), self._longest_search
            )
            try:
                return await asyncio.shield(searching)
            except asyncio.CancelledError:
                while not searching.done():  # nobody waits for it
                    connection.stop()
                    await asyncio.wait([searching], timeout=_NOWAIT)
                searching.exception()  # that it was stopped
                raise
            except sqlite3.Error as error:
                late = too_long(self._longest_search) if was_stopped(error) else None
                raise late or unavailable(error) from error

    @asynccontextmanager
    async def _searching(self) -> AsyncIterator[InterruptibleConnection]:
        """One of the connections of those who search; there are as many as turns in the lane."""
        connection = self._idle.pop() if self._idle else await self._in_thread(self._come_to_search)
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def _come_to_search(self) -> InterruptibleConnection:
        return InterruptibleConnection(self._connect(), _STEPS_OF_SEARCH)

    async def exclusively(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` as the only writer."""

        def run() -> T:
            connecting = self.engine.connect().execution_options(writes=True)
            with connecting as connection, connection.begin():
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    def fetch_nowait(self, sql: str, *values: object) -> list[tuple[Any, ...]] | None:
        """Answer from the file, on this thread; None if that is too long, or cannot be just now."""
        if self._near is None:
            return None
        try:
            return self._near.ask(sql, _as_text(values), _NOWAIT)
        except sqlite3.Error:
            return None

    async def changed(self) -> None:
        """Look again and again whether any process has committed something."""
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_EVERY)
            if (version := self.fetch_nowait("PRAGMA data_version")) != self._version:
                self._version = version
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
        """In the writer's thread."""
        try:
            connection = self._writing = self._writing or self._open_writing()
            with COMMIT_SECONDS.time():
                _run(connection, batch)
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing is on disk
            self._stop_writing()
            failure = unavailable(error)
            for write in batch:
                write.result = failure

    def _open_writing(self) -> Connection:
        return self.engine.connect().execution_options(writes=True)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing.close()
            self._writing = None

    async def close(self) -> None:
        """Let go of the file."""
        self._readers.shutdown()
        self._writer.shutdown()
        self._stop_writing()
        self._searchers.shutdown()
        for connection in filter(None, (self._near, *self._idle)):
            connection.close()
        self.engine.dispose()


def _ask(connection: Connection, sql: str, values: tuple[object, ...]) -> Sequence[Row]:
    return connection.exec_driver_sql(sql, values).all()


def _as_text(values: tuple[object, ...]) -> tuple[object, ...]:
    """Times as they stand in the file."""
    return tuple(instant(value) if isinstance(value, datetime) else value for value in values)


def _run(connection: Connection, batch: list[Write]) -> None:
    try:
        with connection.begin():
            for writes in groups(batch):
                run_together(connection, writes)
    except Exception as error:
        if is_database_failure(error):
            raise
        with connection.begin():
            run_apart(connection, batch)
