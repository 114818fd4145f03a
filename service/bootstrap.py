"""Builds everything, and takes it down again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from service import migrating
from service.changes import Changes
from service.config import Settings
from service.db import Database, make_engine
from service.errors import StoreUnavailable
from service.fetching import Fetcher
from service.logs import log
from service.luma import LumaClient, Rate, Upstream, agents_upstream, dream_machine_upstream
from service.reconcile import Reconciler
from service.tracker import Tracker, utc_now
from service.upkeep import Upkeep
from service.worker import background


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of ours is made of."""

    tracker: Tracker
    reconciler: Reconciler
    upkeep: Upkeep


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
        asking = [parts.reconciler.run] if settings.reconcile else []
        async with background(parts.upkeep.run, *asking):
            yield parts.tracker


@asynccontextmanager
async def open_parts(
    settings: Settings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Parts]:
    """Everything, built in order and taken down in reverse."""
    await migrate(settings)
    async with (
        Database(settings.database_url) as database,
        LumaClient(settings.upstream_timeout) as client,
    ):
        changes = Changes(database.version)
        fetcher = Fetcher(database, make_upstreams(settings, client, clock), changes, clock)
        stale_after = timedelta(seconds=settings.stale_after)
        try:
            yield Parts(
                Tracker(database, fetcher, changes, stale_after=stale_after, clock=clock),
                Reconciler(database, fetcher, clock),
                Upkeep(database, timedelta(days=settings.retention_days), clock),
            )
        finally:
            await fetcher.close()
            await changes.close()


def make_room(settings: Settings) -> None:
    """Make the folder that the database is to be in.

    Raises:
        StoreUnavailable: it cannot be made.
    """
    folder = settings.database_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"The folder {folder} cannot be made: {error.strerror}.",
            "Set TRACKER_DATABASE_URL to a file that you may write.",
        ) from error


async def migrate(settings: Settings) -> None:
    """Bring the database to this version's schema, and make it where there is none.

    Raises:
        StoreUnavailable: it cannot be opened or migrated.
    """
    make_room(settings)
    engine = make_engine(settings.database_url)
    try:
        migrated = await asyncio.to_thread(migrating.upgrade, engine)
    finally:
        engine.dispose()
    if migrated.before is None:
        log.info("database made", revision=migrated.after)
    elif migrated.before != migrated.after:
        log.info("database migrated", before=migrated.before, after=migrated.after)


def make_upstreams(
    settings: Settings, client: LumaClient, clock: Callable[[], datetime]
) -> list[Upstream]:
    """The upstreams that we have a key for."""
    upstreams = []
    if key := settings.luma_api_key:
        url, rate = settings.dream_machine_url, Rate.parse(settings.dream_machine_rate)
        upstreams.append(dream_machine_upstream(url, key.get_secret_value(), client, rate, clock))
    if key := settings.luma_agents_api_key:
        url, rate = settings.agents_url, Rate.parse(settings.agents_rate)
        upstreams.append(agents_upstream(url, key.get_secret_value(), client, rate, clock))
    return upstreams
