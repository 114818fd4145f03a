"""The database: many readers, one writer, and the writer's group commit.

    write(fn) ─┐                       ┌─ BEGIN IMMEDIATE
    write(fn) ─┼─► queue ─► writer ────┤  fn, fn, fn   each in a savepoint of its own
    write(fn) ─┘            thread     └─ COMMIT (fsync) ─► every caller gets its answer

A commit costs a disk flush, so whatever is queued shares one. A function that raises undoes
only its own part; a commit that fails fails for all of them, and none is told otherwise.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StoreUnavailable
from service.logs import log
from service.metrics import COMMIT_SECONDS, COMMIT_WRITES

P = ParamSpec("P")
T = TypeVar("T")

_BATCH = 512  # writes that share a commit, at most
_QUEUE = 10_000  # writes that may wait; past that the store says so instead of growing
_READERS = 4
_BUSY_MS = 4_000  # shorter than the 5 s that Luma waits for our answer
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA foreign_keys=ON",
)


@dataclass(slots=True)
class _Write:
    """One caller's part of a commit."""

    run: Callable[[Connection], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


def make_engine(url: str) -> Engine:
    """An engine whose every connection is set up as the module's head says."""
    engine = create_engine(url, pool_size=_READERS + 2, max_overflow=0, pool_timeout=5)

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


class Database:
    """Runs functions of a connection. Use as an async context manager.

    Args:
        url: `sqlite:///path`.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="db-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._queue: asyncio.Queue[_Write] = asyncio.Queue(_QUEUE)
        self._drain: asyncio.Task[None] | None = None
        self._watching: Connection | None = None  # the version is counted per connection

    async def __aenter__(self) -> Self:
        self._drain = asyncio.create_task(self._commit_for_ever(), name="db-writer")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._queue.join()
        if self._drain:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)
        self._readers.shutdown()
        if self._watching:
            self._watching.close()
        self._writer.shutdown()
        self.engine.dispose()

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that sees one moment of the database.

        Raises:
            StoreUnavailable: the database did not answer.
        """

        def run() -> T:
            with self.engine.begin() as connection:
                return fn(connection, *args, **kwargs)

        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, run)
        except (DBAPIError, PoolTimeout) as error:
            raise _unavailable(error) from error

    async def version(self) -> int:
        """A number that changes whenever any process has committed something."""

        def look() -> int:
            if self._watching is None:
                self._watching = self.engine.connect()
            with self._watching.begin():
                return int(self._watching.exec_driver_sql("PRAGMA data_version").scalar_one())

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, look)
        except (DBAPIError, PoolTimeout) as error:
            raise _unavailable(error) from error

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in the writer; when this returns, what it wrote is on disk.

        Raises:
            StoreUnavailable: nothing was written.
            Exception: whatever `fn` raised; nothing of it was written.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Write(lambda c: fn(c, *args, **kwargs), done))
        except asyncio.QueueFull as error:
            raise StoreUnavailable(f"{_QUEUE} writes are waiting for the database.") from error
        return await done

    async def _commit_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await loop.run_in_executor(self._writer, _commit, self.engine, batch)
            for write in batch:
                _answer(write)
                self._queue.task_done()


def _commit(engine: Engine, batch: list[_Write]) -> None:
    COMMIT_WRITES.observe(len(batch))
    try:
        with (
            COMMIT_SECONDS.time(),
            engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            for write in batch:
                _run(write, connection)
    except Exception as error:  # noqa: BLE001 - whatever it was, nothing is on disk
        failure = _unavailable(error)
        for write in batch:
            write.error = failure


def _run(write: _Write, connection: Connection) -> None:
    """One caller's part; only a failure of the database itself ends the whole batch."""
    try:
        with connection.begin_nested():
            write.result = write.run(connection)
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.OperationalError):
            raise
        write.error = error
    except Exception as error:  # noqa: BLE001 - it is its caller's, who gets it
        write.error = error


def _answer(write: _Write) -> None:
    if write.done.done():  # its caller has gone
        return
    if write.error:
        write.done.set_exception(write.error)
    else:
        write.done.set_result(write.result)


def _unavailable(error: Exception) -> StoreUnavailable:
    reason = str(getattr(error, "orig", error))
    log.error("the database failed", reason=reason)
    return StoreUnavailable(f"The database did not take it: {reason}.")
