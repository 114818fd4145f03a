"""SQLite: one file in WAL mode, readers in threads, and one writer that commits for all.

A glance needs no thread: it finds one row in a file that nobody can lock against readers, in a
fifth of the time that going to a thread and back takes.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.db.base import Database, Write, groups, run_apart, run_together
from service.db.trouble import is_trouble, unavailable
from service.errors import StoreUnavailable
from service.metrics import COMMIT_SECONDS

P = ParamSpec("P")
T = TypeVar("T")

_READERS = 4
_BUSY_MS = 4_000  # shorter than the 5 s that Luma waits for our answer
_LOOK_EVERY = 0.02  # seconds between looks for what another process has committed
_LOOKS = 50  # then one looks for what is new even so
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA foreign_keys=ON",
)


def make_engine(url: str) -> Engine:
    """An engine whose every connection is set up as the module's head says."""
    engine = create_engine(
        url, pool_size=_READERS + 3, max_overflow=0, pool_timeout=5, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        for pragma in _PRAGMAS:
            _execute_patiently(connection, pragma)
        # SQLite's own knows ASCII only, and people search in their own languages.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _execute_patiently(connection: sqlite3.Connection, pragma: str) -> None:
    """SQLite does not wait for a lock while it changes the journal's mode, so we do."""
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute(pragma)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _lower(value: str | None) -> str | None:
    return value and value.lower()


class Sqlite(Database):
    """A file.

    Args:
        url: `sqlite:///path`.
        patience: seconds for which a commit waits for those whom the last one answered, if they
            were many. Python runs one thread at a time: writer and loop had better take turns.
    """

    def __init__(self, url: str, *, patience: float = 0.004) -> None:
        super().__init__(patience)
        self.engine = make_engine(url)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="db-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._writing: Connection | None = None  # always the same: it knows pages and statements
        self._near: sqlite3.Connection | None = None  # for glances, which never wait
        self._version: object = None

    async def __aenter__(self) -> Self:
        with suppress(StoreUnavailable, sqlite3.Error):  # whoever reads or writes will say so
            self._near = await self._in_thread(self._come_near)
        return await super().__aenter__()

    def _come_near(self) -> sqlite3.Connection:
        pooled = self.engine.raw_connection()
        near = cast("sqlite3.Connection", pooled.driver_connection)
        pooled.detach()
        near.execute("PRAGMA busy_timeout=0")
        return near

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that sees one moment of the database."""

        def run() -> T:
            with self.engine.begin() as connection:
                return fn(connection, *args, **kwargs)

        return await self._in_thread(run)

    async def exclusively(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` as the only writer."""

        def run() -> T:
            connecting = self.engine.connect().execution_options(writes=True)
            with connecting as connection, connection.begin():
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    def glance(self, sql: str, *values: object) -> list[tuple[Any, ...]] | None:
        """Answer from the file, on this thread; None if it is busy or broken just now."""
        if self._near is None:
            return None
        try:
            return self._near.execute(sql, values).fetchall()
        except sqlite3.Error:
            return None

    async def changed(self) -> None:
        """Look again and again whether any process has committed something."""
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_EVERY)
            if (version := self.glance("PRAGMA data_version")) != self._version:
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
        if self._near:
            self._near.close()
        self.engine.dispose()


def _run(connection: Connection, batch: list[Write]) -> None:
    try:
        with connection.begin():
            for writes in groups(batch):
                run_together(connection, writes)
    except Exception as error:
        if is_trouble(error):
            raise
        with connection.begin():
            run_apart(connection, batch)
