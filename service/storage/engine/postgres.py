"""PostgreSQL: any number of instances, each with a shared writer for group commit.

A transaction that fails for a transient reason (a deadlock, a restart, a failover) is retried for a
few seconds, so that callers wait instead of failing. Retries are safe: an interrupted transaction
either left no changes, or the retry finds them and counts as a duplicate.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from uuid import uuid4

import asyncpg
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

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
from service.storage.engine.failures import is_database_failure, is_transient, unavailable
from service.storage.engine.notices import Notices
from service.storage.engine.postgres_reader import BY_KEY, PostgresReader

P = ParamSpec("P")
T = TypeVar("T")

MIN_VERSION = 14  # of PostgreSQL; tested up to 18
_WRITERS = 5  # connections
_COMMITS = 2  # concurrent group commits; a third gains nothing
_READERS = 3  # connections
_CONNECT_SECONDS = 3.0
_RETRY_SECONDS = 4.0  # shorter than the 5 s that Luma waits for an answer to a callback
_SECONDS_PER_WRITE = 0.05
_READ_ONLY = "25006"  # SQLSTATE of a server that is not, or no longer, the primary
_READ_TIMEOUT = 10.0  # seconds
_CLOSE_TIMEOUT = 2.0  # seconds
_MIGRATION_LOCK_ID = 0x6C756D61  # arbitrary, but used for nothing else
_LOCK_TIMEOUT = "30s"  # for other migrations, and for each lock that a migration takes


class Postgres(Database):
    """A database on one PostgreSQL server, or on several of which one accepts writes.

    Args:
        url: `postgresql://user:password@host/name`. Several hosts and `target_session_attrs` are
            possible, as in libpq.
        direct_url: the URL without the pooler. If it differs from `url`, no statement is prepared
            on `url`, because a pooler may run the next statement in another server process.
        longest_search: the timeout of a search, in seconds.
    """

    dialect = Dialect.POSTGRES

    def __init__(self, url: str, direct_url: str, *, longest_search: float = 10.0) -> None:
        super().__init__(commits=_COMMITS)
        pooled = url != direct_url
        connect = partial(_connect, url, statement_cache_size=0 if pooled else 100)
        by_key = connect if pooled else partial(connect, settings=BY_KEY)
        self._write_engine = _make_engine(by_key, _WRITERS, pooled=pooled)
        self._reader = PostgresReader(connect, pooled=pooled, longest_search=longest_search)
        self._read_engine = _make_engine(connect, _READERS, pooled=pooled).execution_options(
            # A pooler assigns a server process per transaction, and preparing and running a
            # statement are two requests.
            isolation_level="READ COMMITTED" if pooled else "AUTOCOMMIT"
        )
        self._notices = Notices(partial(_connect, direct_url))
        self._writes = set[asyncio.Task[Any]]()

    async def __aenter__(self) -> Self:
        await self._reader.open()
        return await super().__aenter__()

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn`. Each of its statements sees everything that is committed before it."""

        async def run() -> T:
            async with asyncio.timeout(_READ_TIMEOUT), self._read_engine.connect() as connection:
                return await connection.run_sync(fn, *args, **kwargs)

        try:
            return await _with_retries(run)
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise unavailable(error) from error

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """Run a small query through the driver."""
        return await self._fetch(partial(self._reader.fetch, sql, values))

    async def search(self, sql: str, *values: object) -> Sequence[Row]:
        """Run a query through the driver, on a connection that only searches use."""
        return await self._fetch(partial(self._reader.search, sql, values))

    async def _fetch(
        self, query: Callable[[], Coroutine[Any, Any, Sequence[Row]]]
    ) -> Sequence[Row]:
        try:
            return await _with_retries(query)
        except (asyncpg.PostgresError, OSError) as error:
            raise unavailable(error) from error

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in its own transaction: the locks of several functions could deadlock."""

        async def run() -> T:
            async with asyncio.timeout(_RETRY_SECONDS), self._writing() as connection:
                return await connection.run_sync(fn, *args, **kwargs)

        # Not cancelled with the caller: a broken connection costs more than finishing the write.
        writing = asyncio.create_task(_with_retries(run))
        self._writes.add(writing)
        writing.add_done_callback(self._on_written)
        try:
            result = await asyncio.shield(writing)
        except Exception as error:
            raise (unavailable(error) if is_database_failure(error) else error) from error
        self._notices.announce()
        return result

    def _on_written(self, writing: asyncio.Task[Any]) -> None:
        self._writes.discard(writing)
        if not writing.cancelled():
            writing.exception()  # mark it as retrieved: the caller may have been cancelled

    async def exclusively(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` exclusively among all instances, under an advisory lock."""
        async with self._write_engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK_ID})"))
            return await connection.run_sync(fn)

    async def changed(self) -> None:
        """Wait for a notice, for a second at most, because notices can be lost."""
        await self._notices.wait()

    async def _commit(self, batch: list[Write]) -> None:
        for writes in groups(batch):
            try:
                with COMMIT_SECONDS.time():
                    await self._commit_group(writes)
            except Exception as error:  # noqa: BLE001 - whatever the error, nothing counts as written
                failure = unavailable(error)
                for write in writes:
                    write.result = failure
            else:
                self._notices.announce()

    async def _commit_group(self, writes: list[Write]) -> None:
        try:
            await _with_retries(partial(self._commit_once, run_as_one, writes, _RETRY_SECONDS))
        except Exception as error:
            if is_database_failure(error):
                raise
            timeout = _RETRY_SECONDS + _SECONDS_PER_WRITE * len(writes)
            await _with_retries(partial(self._commit_once, run_separately, writes, timeout))

    async def _commit_once(
        self, run: Callable[[Connection, list[Write]], None], writes: list[Write], timeout: float
    ) -> None:
        async with asyncio.timeout(timeout), self._writing() as connection:
            await connection.run_sync(run, writes)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction. A server that takes no writes is left by the readers as well.

        It may answer them for long, but what it knows grows old.
        """
        try:
            async with self._write_engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if _is_read_only(error.orig):
                await self._reader.reconnect()
                await self._read_engine.dispose()
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self._notices.close()
        if self._writes:
            await asyncio.wait(self._writes, timeout=_CLOSE_TIMEOUT)
        with suppress(TimeoutError):  # the network may be down
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await asyncio.gather(
                    self._reader.close(), self._write_engine.dispose(), self._read_engine.dispose()
                )


def _make_engine(
    connect: Callable[[], Coroutine[Any, Any, asyncpg.Connection]], size: int, *, pooled: bool
) -> AsyncEngine:
    without_prepared = {
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"__{uuid4()}__",
    }
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={
            "async_creator_fn": connect,
            **(without_prepared if pooled else {}),
        },
        pool_size=size,
        max_overflow=0,
        pool_timeout=_RETRY_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "handle_error", _disconnect_if_read_only)
    return engine


def _disconnect_if_read_only(context: ExceptionContext) -> None:
    """Reopen all connections when the server is read-only: another one may accept writes now."""
    if _is_read_only(context.original_exception):
        context.is_disconnect = True


def _is_read_only(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) == _READ_ONLY


async def _connect(
    url: str, settings: Mapping[str, str] = MappingProxyType({}), **given: Any
) -> asyncpg.Connection:
    settings = {"application_name": "luma-tracker", **settings}
    try:
        connection = await asyncpg.connect(
            url, timeout=_CONNECT_SECONDS, server_settings=settings, **given
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise ConnectionError(str(error)) from error  # treated like an unreachable server
    major = connection.get_server_version().major
    if major < MIN_VERSION:
        connection.terminate()
        raise StoreUnavailable(
            f"The server is PostgreSQL {major}; luma-tracker needs {MIN_VERSION} or newer.",
            "Upgrade the server, or set TRACKER_DATABASE_URL to another one.",
        )
    return connection


async def _with_retries(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function, and retry transient failures for `_RETRY_SECONDS`."""
    started = time.monotonic()
    try:
        return await run()  # usually enough; creating the retry object costs as much as a lookup
    except Exception as error:
        if not is_transient(error) or (left := started + _RETRY_SECONDS - time.monotonic()) <= 0:
            raise
    retrying = AsyncRetrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_delay(left),
        wait=wait_random_exponential(multiplier=0.02, max=0.5),
        reraise=True,
    )
    return await retrying(run)
