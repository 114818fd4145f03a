"""Builds everything, and takes it down again."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service.config import Settings
from service.config.secret_files import make_private
from service.domain.request_budget import Rate
from service.errors import StoreUnavailable
from service.logs import log
from service.luma import (
    AGENTS,
    DREAM_MACHINE,
    AdmissionControl,
    LumaClient,
    Upstream,
    agents_upstream,
    dream_machine_upstream,
)
from service.storage import migrating
from service.storage.engine import open_database
from service.storage.request_log import RequestLog
from service.tracking.background import background
from service.tracking.cache import Cache
from service.tracking.changes import Changes
from service.tracking.fetcher import Fetcher
from service.tracking.maintenance import Maintenance
from service.tracking.reconciler import Reconciler
from service.tracking.rewriter import Rewriter
from service.tracking.tracker import Tracker, utc_now

T = TypeVar("T")

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of ours is made of."""

    tracker: Tracker
    reconciler: Reconciler
    upkeep: Maintenance
    rewriter: Rewriter


@asynccontextmanager
async def open_tracker(
    settings: Settings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Tracker]:
    """A tracker on the configured database, migrated first; it does nothing unasked.

    Raises:
        StoreUnavailable: the database cannot be opened or migrated.
    """
    async with open_parts(settings, clock) as parts:
        yield parts.tracker


@asynccontextmanager
async def open_service(
    settings: Settings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Tracker]:
    """The same, which also asks Luma about what has gone quiet and keeps the store tidy."""
    async with open_parts(settings, clock) as parts:
        unasked = parts.upkeep.keep_folding, parts.upkeep.keep_pruning, parts.rewriter.run
        asking = [parts.reconciler.run] if settings.reconcile else []
        async with background(*unasked, *asking):
            yield parts.tracker


@asynccontextmanager
async def open_parts(
    settings: Settings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Parts]:
    """Everything, built in order and taken down in reverse."""
    await migrate(settings)
    async with (
        open_database(settings.database_url, settings.database_direct_url) as database,
        LumaClient(settings.upstream_timeout) as client,
    ):
        cache = Cache(settings.cache_size * _MEGABYTE)
        changes = Changes(database, cache)
        upstreams = make_upstreams(settings, client, clock, partial(RequestLog, database))
        fetcher = Fetcher(database, upstreams, changes, clock)
        stale_after = timedelta(seconds=settings.stale_after)
        try:
            yield Parts(
                Tracker(database, fetcher, changes, cache, stale_after=stale_after, clock=clock),
                Reconciler(database, fetcher, clock),
                Maintenance(database, timedelta(days=settings.retention_days), clock),
                Rewriter(database, clock),
            )
        finally:
            await fetcher.close()
            await changes.close()


def prepare_database_file(settings: Settings) -> None:
    """Make the file, and the folder that it is to be in, which only we may read.

    Raises:
        StoreUnavailable: they cannot be made.
    """
    if settings.on_server:
        return
    path = settings.database_path
    hint = "Set TRACKER_DATABASE_URL to a file that you may write."
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {path.parent} cannot be made: {error.strerror}."
        raise StoreUnavailable(message, hint) from error
    try:
        make_private(path)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}.", hint) from error


async def migrate(settings: Settings) -> migrating.Migrated:
    """Bring the database to this version's schema, and make it where there is none.

    Raises:
        StoreUnavailable: it cannot be opened or migrated.
    """
    prepare_database_file(settings)
    migrated = await at_database(settings, migrating.upgrade)
    if migrated.before is None:
        log.info("database_created", revision=migrated.after)
    elif migrated.before != migrated.after:
        log.info("database_migrated", before=migrated.before, after=migrated.after)
    return migrated


async def at_database(settings: Settings, fn: Callable[[Connection], T]) -> T:
    """Run `fn` in a transaction while nobody else does so, in whatever process.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    database = open_database(settings.database_direct_url or settings.database_url)
    try:
        return await database.exclusively(fn)
    except (DBAPIError, OSError) as error:
        reason = str(getattr(error, "orig", error)) or type(error).__name__
        raise StoreUnavailable(f"{settings.database_name} cannot be opened: {reason}.") from error
    finally:
        await database.close()


def make_upstreams(
    settings: Settings,
    client: LumaClient,
    clock: Callable[[], datetime],
    log_for: Callable[[str], RequestLog | None] = lambda _upstream: None,
) -> list[Upstream]:
    """The upstreams that we have a key for.

    Args:
        log_for: where the requests to an upstream are recorded, if others share the rate.
    """
    upstreams = []
    if key := settings.luma_api_key:
        admission = AdmissionControl(
            DREAM_MACHINE, Rate.parse(settings.dream_machine_rate), log_for(DREAM_MACHINE)
        )
        url, secret = settings.dream_machine_url, key.get_secret_value()
        upstreams.append(dream_machine_upstream(url, secret, client, admission, clock))
    if key := settings.luma_agents_api_key:
        admission = AdmissionControl(AGENTS, Rate.parse(settings.agents_rate), log_for(AGENTS))
        url, secret = settings.agents_url, key.get_secret_value()
        upstreams.append(agents_upstream(url, secret, client, admission, clock))
    return upstreams
