"""The database's schema, by hand."""

from dataclasses import dataclass

from service import inbox, migrating
from service.bootstrap import at_database, migrate
from service.config import Settings


@dataclass(frozen=True, slots=True)
class Revisions:
    """Where the database is, and where this version wants it."""

    current: str | None
    head: str | None


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
    return Revisions(await at_database(settings, migrating.revision), migrating.head())


async def deliveries_given_up(settings: Settings) -> int:
    """How many deliveries wait for people.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    return await at_database(settings, inbox.given_up)
