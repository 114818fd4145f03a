"""The database's schema, by hand."""

from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from service.bootstrap import at_database, migrate
from service.config.settings import Settings
from service.storage import deliveries, generations, migrating
from service.storage.rewrites import Rewrite, progress


@dataclass(frozen=True, slots=True)
class Revisions:
    """Where the database is, and where this version wants it."""

    current: str | None
    head: str | None
    rewrites: tuple[Rewrite, ...] = ()
    """How far the rewriting of old rows has come."""


async def upgraded(settings: Settings) -> str:
    """Migrate; answers what was done."""
    migrated = await migrate(settings)
    return f"database: {migrated.before or 'none'} -> {migrated.after}"


async def revisions(settings: Settings) -> Revisions:
    """Both revisions; makes no database where there is none.

    Raises:
        StoreUnavailable: it cannot be opened, or the file is not a database.
    """
    if not settings.on_server and not settings.database_path.exists():
        return Revisions(None, migrating.head())
    return await at_database(settings, _look)


async def deliveries_given_up(settings: Settings) -> int:
    """How many deliveries wait for people.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    return await at_database(settings, deliveries.given_up)


def _look(connection: Connection) -> Revisions:
    found = tuple(progress(connection))
    return Revisions(migrating.revision(connection), migrating.head(), found)


async def newest_confirmed(settings: Settings, upstream: str) -> str | None:
    """A generation that this upstream should know; None if there is none, or no database.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    if (await revisions(settings)).current != migrating.head():
        return None
    return await at_database(settings, partial(generations.newest_confirmed, upstream=upstream))
