"""What `db` and `doctor` read from the database: its schema's revision and a summary of rows."""

from functools import partial

from service.bootstrap import at_database, migrate, open_tracker
from service.config import Settings
from service.tracking import inspection
from service.tracking.inspection import Contents, Revisions


async def upgraded(settings: Settings) -> str:
    """Migrate the database, and return a line that says what was done."""
    migrated = await migrate(settings)
    return f"database: {migrated.before or 'none'} -> {migrated.after}"


async def revisions(settings: Settings) -> Revisions:
    """Return the revision of the database and of this version; never creates a database.

    Raises:
        StoreUnavailable: the database cannot be opened, or the file is not a database.
    """
    if not settings.on_server and not settings.database_path.exists():
        return Revisions.of_no_database()
    return await at_database(settings, inspection.revisions)


async def contents(settings: Settings, upstreams: tuple[str, ...]) -> Contents:
    """Return the summary of rows; an empty one if the schema is not up to date.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    if not (await revisions(settings)).up_to_date:
        return Contents(0, dict.fromkeys(upstreams))
    return await at_database(settings, partial(inspection.contents, upstreams=upstreams))


async def recounted(settings: Settings) -> int:
    """Count all generations anew, and return on how many days they were created.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    async with open_tracker(settings) as tracker:
        return await tracker.stats.recount()


async def differing_states(settings: Settings) -> list[str]:
    """Return the states that the counters count wrongly; none if the schema is not up to date.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    if not (await revisions(settings)).up_to_date:
        return []
    return await at_database(settings, inspection.differing_states)
