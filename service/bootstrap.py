"""Builds everything, and takes it down again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from service import migrating
from service.config import Settings
from service.db import Database
from service.errors import StoreUnavailable
from service.luma import LumaClient, Upstream, agents_upstream, dream_machine_upstream
from service.tracker import Tracker, utc_now

_log = logging.getLogger("luma_tracker")


@asynccontextmanager
async def open_tracker(
    settings: Settings, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Tracker]:
    """A tracker on the configured database, migrated first.

    Raises:
        StoreUnavailable: the database cannot be opened or migrated.
    """
    _make_room(settings)
    async with (
        Database(settings.database_url) as database,
        LumaClient(settings.upstream_timeout) as client,
    ):
        await _migrate(database)
        tracker = Tracker(
            database,
            make_upstreams(settings, client, clock),
            stale_after=timedelta(seconds=settings.stale_after),
            clock=clock,
        )
        try:
            yield tracker
        finally:
            await tracker.close()


def _make_room(settings: Settings) -> None:
    folder = settings.database_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"The folder {folder} cannot be made: {error.strerror}.",
            "Set TRACKER_DATABASE_URL to a file that you may write.",
        ) from error


async def _migrate(database: Database) -> None:
    migrated = await asyncio.to_thread(migrating.upgrade, database.engine)
    if migrated.before is None:
        _log.info("database: made, at revision %s", migrated.after)
    elif migrated.before != migrated.after:
        _log.info("database: migrated from %s to %s", migrated.before, migrated.after)


def make_upstreams(
    settings: Settings, client: LumaClient, clock: Callable[[], datetime]
) -> list[Upstream]:
    """The upstreams that we have a key for."""
    upstreams = []
    if key := settings.luma_api_key:
        url = settings.dream_machine_url
        upstreams.append(dream_machine_upstream(url, key.get_secret_value(), client, clock))
    if key := settings.luma_agents_api_key:
        url = settings.agents_url
        upstreams.append(agents_upstream(url, key.get_secret_value(), client, clock))
    return upstreams
