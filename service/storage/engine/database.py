"""What every database can do, and the writer's queue."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

_BATCH = 512  # writes that share a commit, at most
_MANY = 8  # writes in one commit that make it likely that as many follow at once
_BATCH_BYTES = 4_194_304  # of what they bring, likewise
_QUEUE = 10_000  # writes that may wait; past that the store says so instead of growing
_QUEUE_BYTES = 67_108_864  # of what they bring, likewise

Row = tuple[Any, ...]
"""Values as the driver has them."""

Together = Callable[[Connection, Sequence[Any]], Sequence[Any]]


class Dialect(Enum):
    """Whose SQL it is."""

    SQLITE = "sqlite"
    POSTGRES = "postgresql"


@dataclass(slots=True)
class Write:
    """One caller's part of a commit."""

    together: Together
    item: Any
    size: int
    done: asyncio.Future[Any]
    result: Any = None
    """What its caller gets; an exception is raised there."""


class Database(ABC):
    """Runs functions of a connection. Use as an async context manager.

    Args:
        patience: seconds for which a commit waits for those whom the last one answered.
        commits: how many may be under way: what is parsed and folded for the next one takes no
            time from a database that is busy flushing the last.
    """

    dialect: Dialect

    def __init__(self, patience: float = 0.0, commits: int = 1) -> None:
        self._patience = patience
        self._free = asyncio.Semaphore(commits)
        self._committing = set[asyncio.Task[None]]()
        self._queue: asyncio.Queue[Write] = asyncio.Queue(_QUEUE)
        self._queued_bytes = 0
        self._awaited = 0
        self._together = asyncio.Event()
        self._drain: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._drain = asyncio.create_task(self._commit_for_ever(), name="db-writer")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._queue.join()
        if self._drain:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)
        await self.close()

    @abstractmethod
    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn`, which only reads, and little.

        Raises:
            StoreUnavailable: the database did not answer.
        """

    @abstractmethod
    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """The rows of a small question, in the driver's own words.

        Raises:
            StoreUnavailable: the database did not answer.
        """

    @abstractmethod
    async def search(self, sql: str, *values: object) -> Sequence[Row]:
        """The rows of a question that may take long, without disturbing anybody else's.

        It ends when its caller is cancelled, or after some seconds.

        Raises:
            StoreUnavailable: the database did not answer in time, or too many search already.
        """

    def fetch_nowait(self, _sql: str, *_values: object) -> list[tuple[Any, ...]] | None:
        """Answer a question that takes microseconds at once; None where one would have to wait.

        Args:
            _sql: in the driver's own words, as are the values that come back.
        """
        return None

    @abstractmethod
    async def exclusively(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction while nobody else runs anything so, in whatever process.

        Raises:
            DBAPIError: the database's own; nothing was written.
        """

    @abstractmethod
    async def changed(self) -> None:
        """Return as soon as anybody may have committed something since the last call.

        At the latest after a second or so.
        """

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn`; when this returns, what it wrote is on disk.

        Raises:
            StoreUnavailable: nothing was written.
            Exception: whatever `fn` raised; nothing of it was written.
        """
        result: T = await self.write_all(lambda c, _: [fn(c, *args, **kwargs)], None)
        return result

    async def write_all(
        self, fn: Callable[[Connection, Sequence[Item]], Sequence[T | Exception]], item: Item
    ) -> T:
        """Run `fn` once for all the items that wait for it; answers what it has for ours.

        Where `fn` raises for several items, it is run again for each of them alone.

        Raises:
            StoreUnavailable: nothing was written.
            Exception: what `fn` answered or raised for this item; nothing of it was written.
        """
        return await self.submit(fn, item)

    def submit(
        self,
        fn: Callable[[Connection, Sequence[Item]], Sequence[T | Exception]],
        item: Item,
        size: int = 0,
    ) -> asyncio.Future[T]:
        """The same, for who does not wait here: the future has what `write_all` would answer.

        Args:
            size: bytes that the item keeps in memory.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._queue.full() or self._queued_bytes + size > _QUEUE_BYTES:
            waiting = f"{self._queue.qsize()} writes are waiting for the database."
            done.set_exception(StoreUnavailable(waiting))
            return done
        self._queue.put_nowait(Write(fn, item, size, done))
        self._queued_bytes += size
        if self._queue.qsize() >= self._awaited:
            self._together.set()
        return done

    @abstractmethod
    async def _commit(self, batch: list[Write]) -> None:
        """Run a batch, and note each result; does not raise."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection; all that one that was never entered needs."""

    async def _commit_for_ever(self) -> None:
        while True:
            await self._free.acquire()
            batch = self._batch_from(await self._queue.get())
            committing = asyncio.create_task(self._commit_and_answer(batch), name="db-commit")
            self._committing.add(committing)
            committing.add_done_callback(self._committed)

    def _committed(self, committing: asyncio.Task[None]) -> None:
        self._committing.discard(committing)
        self._free.release()

    async def _commit_and_answer(self, batch: list[Write]) -> None:
        COMMIT_WRITES.observe(len(batch))
        await self._commit(batch)
        for write in batch:
            _answer(write)
            self._queue.task_done()
        if self._patience and len(batch) >= _MANY:
            await self._come_together(len(batch))

    def _batch_from(self, first: Write) -> list[Write]:
        """The next writes that share a commit; what they bring is bounded, too."""
        batch, size = [first], first.size
        while len(batch) < _BATCH and size < _BATCH_BYTES and not self._queue.empty():
            batch.append(self._queue.get_nowait())
            size += batch[-1].size
        self._queued_bytes -= size
        return batch

    async def _come_together(self, answered: int) -> None:
        """Wait until as many wait as there seem to be: one commit for all costs the least."""
        self._awaited = min(answered + self._queue.qsize(), _BATCH)
        self._together.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._together.wait()


def groups(batch: list[Write]) -> list[list[Write]]:
    """Neighbours that one call can run, in their order."""
    return [list(writes) for _, writes in groupby(batch, key=lambda write: write.together)]


def run_together(connection: Connection, writes: list[Write]) -> None:
    """One call for all of them; if it raises, a new transaction must run them apart.

    No savepoint: SQLite copies every page that is changed within one, and failures are rare.
    """
    items = [write.item for write in writes]
    for write, result in zip(writes, writes[0].together(connection, items), strict=True):
        write.result = result


def run_apart(connection: Connection, writes: list[Write]) -> None:
    """A call for each; only a failure of the database itself ends the transaction."""
    for write in writes:
        try:
            with connection.begin_nested():
                run_together(connection, [write])
        except Exception as error:
            if is_database_failure(error):
                raise
            write.result = error  # it is its caller's


def _answer(write: Write) -> None:
    if write.done.done():  # its caller has gone
        return
    if isinstance(write.result, Exception):
        write.done.set_exception(write.result)
    else:
        write.done.set_result(write.result)
