"""PostgreSQL: as many instances as wanted, each with one writer that commits for all its callers.

Whatever fails by the database's own trouble - a deadlock, a restart, a failover - is begun
again for a few seconds, so callers wait rather than fail. That is safe: a transaction that
was cut off either left nothing, or what it left makes the second one a duplicate.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from uuid import uuid4

import asyncpg
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
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
    run_apart,
    run_together,
)
from service.storage.engine.failures import is_database_failure, is_transient, unavailable
from service.storage.engine.notices import Notices
from service.storage.engine.postgres_reader import BY_KEY, PostgresReader

P = ParamSpec("P")
T = TypeVar("T")

OLDEST = 14  # of PostgreSQL's versions that we run on; 18 is the newest that was tried
_WRITERS = 5
_COMMITS = 2  # of callbacks; a third gains nothing
_READERS = 3
_CONNECT_SECONDS = 3.0
_PATIENCE = 4.0  # seconds for which trouble is waited out; shorter than Luma's 5
_EACH = 0.05  # seconds
_ONLY_READS = "25006"  # what a server says that is, or has become, no primary
_LONGEST_READ = 10.0  # seconds
_GOODBYE = 2.0  # seconds
_MIGRATION_LOCK = 0x6C756D61  # any number that is ours alone
_LOCK_WAIT = "30s"  # for others that migrate, and for each lock that a migration takes


class Postgres(Database):
    """A server, or several of which one takes writes.

    Args:
        url: `postgresql://user:password@host/name`; several hosts and `target_session_attrs`
            as libpq has them.
        direct_url: the same past a pooler; where they differ, nothing is prepared on `url`,
            since the next statement may meet another server process.
        longest_search: seconds that a search may take.
    """

    dialect = Dialect.POSTGRES

    def __init__(self, url: str, direct_url: str, *, longest_search: float = 10.0) -> None:
        super().__init__(commits=_COMMITS)
        pooled = url != direct_url
        connect = partial(_connect, url, statement_cache_size=0 if pooled else 100)
        by_key = connect if pooled else partial(connect, settings=BY_KEY)
        self._engine = _make_engine(by_key, _WRITERS, pooled=pooled)
        self._reader = PostgresReader(connect, pooled=pooled, longest_search=longest_search)
        self._reading = _make_engine(connect, _READERS, pooled=pooled).execution_options(
            # A pooler keeps us at one server process only for a transaction, and to prepare a
            # statement and to run it are two requests.
            isolation_level="READ COMMITTED" if pooled else "AUTOCOMMIT"
        )
        self._notices = Notices(partial(_connect, direct_url))
        self._writing = set[asyncio.Task[Any]]()

    async def __aenter__(self) -> Self:
        await self._reader.open()
        return await super().__aenter__()

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn`; each of its statements sees all that is committed."""

        async def run() -> T:
            async with asyncio.timeout(_LONGEST_READ), self._reading.connect() as connection:
                return await connection.run_sync(fn, *args, **kwargs)

        try:
            return await _patiently(run)
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise unavailable(error) from error

    async def fetch(self, sql: str, *values: object) -> Sequence[Row]:
        """Ask the driver."""
        return await self._asked(partial(self._reader.fetch, sql, values))

    async def search(self, sql: str, *values: object) -> Sequence[Row]:
        """Ask the driver, on a connection that only searches use."""
        return await self._asked(partial(self._reader.search, sql, values))

    async def _asked(self, ask: Callable[[], Coroutine[Any, Any, Sequence[Row]]]) -> Sequence[Row]:
        try:
            return await _patiently(ask)
        except (asyncpg.PostgresError, OSError) as error:
            raise unavailable(error) from error

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction of its own: locks of many functions together may deadlock."""

        async def run() -> T:
            async with asyncio.timeout(_PATIENCE), self._engine.begin() as connection:
                return await connection.run_sync(fn, *args, **kwargs)

        # Who asks may leave; a connection that is cut off costs more than the rest of a write.
        writing = asyncio.create_task(_patiently(run))
        self._writing.add(writing)
        writing.add_done_callback(self._written)
        try:
            result = await asyncio.shield(writing)
        except Exception as error:
            raise (unavailable(error) if is_database_failure(error) else error) from error
        self._notices.announce()
        return result

    def _written(self, writing: asyncio.Task[Any]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled():
            writing.exception()  # its caller's, who may have left

    async def exclusively(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` while nobody else runs anything so, on whatever instance."""
        async with self._engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            return await connection.run_sync(fn)

    async def changed(self) -> None:
        """Wait for a notice, or for a second: notices are only a hint."""
        await self._notices.wait()

    async def _commit(self, batch: list[Write]) -> None:
        for writes in groups(batch):
            try:
                with COMMIT_SECONDS.time():
                    await self._commit_group(writes)
            except Exception as error:  # noqa: BLE001 - whatever it was, callers must not rely on it
                failure = unavailable(error)
                for write in writes:
                    write.result = failure
            else:
                self._notices.announce()

    async def _commit_group(self, writes: list[Write]) -> None:
        try:
            await _patiently(partial(self._commit_once, run_together, writes, _PATIENCE))
        except Exception as error:
            if is_database_failure(error):
                raise
            patience = _PATIENCE + _EACH * len(writes)
            await _patiently(partial(self._commit_once, run_apart, writes, patience))

    async def _commit_once(
        self, run: Callable[[Connection, list[Write]], None], writes: list[Write], patience: float
    ) -> None:
        async with asyncio.timeout(patience), self._engine.begin() as connection:
            await connection.run_sync(run, writes)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._notices.close()
        self._reader.close()
        if self._writing:
            await asyncio.wait(self._writing, timeout=_GOODBYE)
        with suppress(TimeoutError):  # a network that is gone takes no goodbye
            async with asyncio.timeout(_GOODBYE):
                await asyncio.gather(self._engine.dispose(), self._reading.dispose())


def _make_engine(
    connect: Callable[[], Coroutine[Any, Any, asyncpg.Connection]], size: int, *, pooled: bool
) -> AsyncEngine:
    unprepared = {
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"__{uuid4()}__",
    }
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={
            "async_creator_fn": connect,
            **(unprepared if pooled else {}),
        },
        pool_size=size,
        max_overflow=0,
        pool_timeout=_PATIENCE,
        pool_use_lifo=True,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "handle_error", _leave_who_only_reads)
    return engine


def _leave_who_only_reads(context: ExceptionContext) -> None:
    """Another server may take writes by now: every connection that there is is made anew."""
    if getattr(context.original_exception, "sqlstate", None) == _ONLY_READS:
        context.is_disconnect = True


async def _connect(
    url: str, settings: Mapping[str, str] = MappingProxyType({}), **given: Any
) -> asyncpg.Connection:
    settings = {"application_name": "luma-tracker", **settings}
    try:
        connection = await asyncpg.connect(
            url, timeout=_CONNECT_SECONDS, server_settings=settings, **given
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise ConnectionError(str(error)) from error  # trouble of the same kind as no server
    major = connection.get_server_version().major
    if major < OLDEST:
        connection.terminate()
        raise StoreUnavailable(
            f"The server is PostgreSQL {major}, and luma-tracker needs {OLDEST} or newer.",
            "Upgrade it, or name another in TRACKER_DATABASE_URL.",
        )
    return connection


async def _patiently(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it; where that may help, begin again for some seconds."""
    began = time.monotonic()
    try:
        return await run()  # nearly always; to build what retries costs as much as a lookup
    except Exception as error:
        if not is_transient(error) or (left := began + _PATIENCE - time.monotonic()) <= 0:
            raise
    retrying = AsyncRetrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_delay(left),
        wait=wait_random_exponential(multiplier=0.02, max=0.5),
        reraise=True,
    )
    return await retrying(run)
