"""The database's schema and contents, as `db` and `doctor` look at them."""

from functools import partial

from service.bootstrap import at_database, migrate
from service.config import Settings
from service.tracking import inspection
from service.tracking.inspection import Contents, Revisions


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
        return Revisions.of_no_database()
    return await at_database(settings, inspection.revisions)


async def contents(settings: Settings, upstreams: tuple[str, ...]) -> Contents:
    """What the rows show; nothing where the schema is not up to date.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    if not (await revisions(settings)).up_to_date:
        return Contents(0, dict.fromkeys(upstreams))
    return await at_database(settings, partial(inspection.contents, upstreams=upstreams))
