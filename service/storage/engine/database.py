"""The interface of a database, and the queue of writes for group commit."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection

from service.errors import StoreUnavailable
from service.metrics import COMMIT_WRITES
from service.storage.engine.failures import is_database_failure

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

_MAX_BATCH = 512  # writes in one commit
_BUSY_BATCH = 8  # writes in one commit, from which as many are expected to follow immediately
_MAX_BATCH_BYTES = 4_194_304  # of items in one commit
_MAX_QUEUE = 10_000  # waiting writes; more are refused
_MAX_QUEUE_BYTES = 67_108_864  # of items of waiting writes

Row = tuple[Any, ...]
"""A row as the driver returns it."""

WriteFn = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Writes items, and returns a result or an exception for each."""


class Dialect(Enum):
    """The SQL dialect of a database."""

    SQLITE = "sqlite"
    POSTGRES = "postgresql"


@dataclass(slots=True)
class Write:
    """The part of one caller in a commit."""

    fn: WriteFn
    item: Any
    size: int
    done: asyncio.Future[Any]
    result: Any = None
    """The result for the caller. An exception is raised there."""
    queued_at: float = field(default_factory=time.monotonic)


class Database(ABC):
    """Runs functions that take a connection. Use it as an async context manager.

    Args:
        commit_delay: the seconds for which a commit waits for new writes of the callers whose
            writes were in the last one.
        commits: the number of concurrent commits. With more than one, the service parses and folds
            for the next commit while the database flushes the last.
    """

    dialect: Dialect

    def __init__(self, commit_delay: float = 0.0, commits: int = 1) -> None:
        self._commit_delay = commit_delay
        self._commit_slots = asyncio.Semaphore(commits)
        self._committing = set[asyncio.Task[None]]()
        self._queue: asyncio.Queue[Write] = asyncio.Queue(_MAX_QUEUE)
        self._queued_bytes = 0
        self._expected_writes = 0
        self._enough_queued = asyncio.Event()
        self._writer_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer_task = asyncio.create_task(self._run_writer(), name="db-writer")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._queue.join()
        if self._writer_task:
            self._writer_task.cancel()
            await asyncio.gather(self._writer_task, return_exceptions=True)
        await self.close()

    @abstractmethod
    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn`, which only reads, and only a few rows.

        Raises:
            StoreUnavailable: the database did not answer.
        """

    @abstractmethod
    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """Run a small query in the SQL of the driver, and return its rows.

        Raises:
            StoreUnavailable: the database did not answer.
        """

    @abstractmethod
    async def search(self, sql: str, *values: object) -> Sequence[Row]:
        """Run a query that may take long, separately from all others, and return its rows.

        It is stopped when its caller is cancelled, or after a timeout.

        Raises:
            StoreUnavailable: the database did not answer in time, or too many searches are running.
        """

    async def search_long(self, sql: str, *values: object) -> Sequence[Row]:
        """Like `search`, for a query that certainly takes long: it never blocks the event loop."""
        return await self.search(sql, *values)

    def fetch_nowait(self, _sql: str, *_values: object) -> list[tuple[Any, ...]] | None:
        """Run a query of microseconds without waiting; None if that is not possible.

        Args:
            _sql: in the SQL of the driver.
            _values: its parameters.

        Returns:
            The rows, with values as the driver returns them.
        """
        return None

    @abstractmethod
    async def exclusively(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction, exclusively among all processes that use this method.

        Raises:
            DBAPIError: the database failed; nothing was written.
        """

    @abstractmethod
    async def changed(self) -> None:
        """Wait, for about a second at most, until any process may have committed.

        Commits since the last call count.
        """

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction. When this returns, the changes are on disk.

        Raises:
            StoreUnavailable: nothing was written.
            Exception: what `fn` raised; its changes were rolled back.
        """
        result: T = await self.write_all(lambda c, _: [fn(c, *args, **kwargs)], None)
        return result

    async def write_all(
        self, fn: Callable[[Connection, Sequence[Item]], Sequence[T | Exception]], item: Item
    ) -> T:
        """Run `fn` once for all queued items, and return its result for this item.

        `fn` takes the items and returns one result, or exception, for each. If it raises for
        several items, it runs again for each item separately.

        Raises:
            StoreUnavailable: nothing was written.
            Exception: what `fn` returned or raised for this item.
        """
        return await self.submit(fn, item)

    def submit(
        self,
        fn: Callable[[Connection, Sequence[Item]], Sequence[T | Exception]],
        item: Item,
        size: int = 0,
    ) -> asyncio.Future[T]:
        """Queue an item like `write_all`, and return a future for its result.

        Args:
            fn: see `write_all`.
            item: the item.
            size: the bytes of memory that the item uses.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._queue.full() or self._queued_bytes + size > _MAX_QUEUE_BYTES:
            waiting = f"{self._queue.qsize()} writes are waiting for the database."
            done.set_exception(StoreUnavailable(waiting))
            return done
        self._queue.put_nowait(Write(fn, item, size, done))
        self._queued_bytes += size
        if self._queue.qsize() >= self._expected_writes:
            self._enough_queued.set()
        return done

    @abstractmethod
    async def _commit(self, batch: list[Write]) -> None:
        """Run a batch and set the result of each write. Does not raise."""

    @abstractmethod
    async def close(self) -> None:
        """Close every connection. A database that was never entered needs nothing else."""

    async def _run_writer(self) -> None:
        while True:
            await self._commit_slots.acquire()
            batch = self._batch_from(await self._queue.get())
            committing = asyncio.create_task(self._commit_and_answer(batch), name="db-commit")
            self._committing.add(committing)
            committing.add_done_callback(self._on_committed)

    def _on_committed(self, committing: asyncio.Task[None]) -> None:
        self._committing.discard(committing)
        self._commit_slots.release()

    async def _commit_and_answer(self, batch: list[Write]) -> None:
        COMMIT_WRITES.observe(len(batch))
        await self._commit(batch)
        for write in batch:
            _answer(write)
            self._queue.task_done()
        if self._commit_delay and len(batch) >= _BUSY_BATCH:
            await self._wait_for_writes(len(batch))

    def _batch_from(self, first: Write) -> list[Write]:
        """Take the writes for the next commit from the queue, bounded in number and in bytes."""
        batch, size = [first], first.size
        while len(batch) < _MAX_BATCH and size < _MAX_BATCH_BYTES and not self._queue.empty():
            batch.append(self._queue.get_nowait())
            size += batch[-1].size
        self._queued_bytes -= size
        return batch

    async def _wait_for_writes(self, answered: int) -> None:
        """Wait until about as many writes are queued as there seem to be concurrent writers.

        One commit for all of them costs the least.
        """
        self._expected_writes = min(answered + self._queue.qsize(), _MAX_BATCH)
        self._enough_queued.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._commit_delay):
                await self._enough_queued.wait()


def groups(batch: list[Write]) -> list[list[Write]]:
    """Split a batch into runs of consecutive writes with the same function."""
    return [list(writes) for _, writes in groupby(batch, key=lambda write: write.fn)]


def run_as_one(connection: Connection, writes: list[Write]) -> None:
    """Call the function once for all writes.

    If it raises, the caller must use `run_separately` in a new transaction.

    There is no savepoint, because SQLite copies every page that changes within one, and failures
    are rare.
    """
    items = [write.item for write in writes]
    for write, result in zip(writes, writes[0].fn(connection, items), strict=True):
        write.result = result


def run_separately(connection: Connection, writes: list[Write]) -> None:
    """Call the function for each write. Only a failure of the database ends the transaction."""
    for write in writes:
        try:
            with connection.begin_nested():
                run_as_one(connection, [write])
        except Exception as error:
            if is_database_failure(error):
                raise
            write.result = error  # raised at its caller


def _answer(write: Write) -> None:
    if write.done.done():  # its caller was cancelled
        return
    if isinstance(write.result, Exception):
        write.done.set_exception(write.result)
    else:
        write.done.set_result(write.result)
