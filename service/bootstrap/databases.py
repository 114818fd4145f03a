"""The configured database before the service is built on it: created, migrated."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service.config import Settings
from service.config.secret_files import make_private
from service.errors import StoreUnavailable
from service.logs import log
from service.storage import migrating
from service.storage.engine import open_database

T = TypeVar("T")


def _prepare_file(settings: Settings) -> None:
    """Create the SQLite file and its folder, readable by the owner only.

    Raises:
        StoreUnavailable: one of them cannot be created.
    """
    if settings.on_server:
        return
    path = settings.database_path
    hint = "Set TRACKER_DATABASE_URL to sqlite:/// and the path of a file that you can write."
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {path.parent} cannot be created: {error.strerror}."
        raise StoreUnavailable(message, hint) from error
    try:
        make_private(path)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}.", hint) from error


async def migrate(settings: Settings) -> migrating.Migrated:
    """Migrate the database to this version's schema; creates it if it does not exist.

    Raises:
        StoreUnavailable: the database cannot be opened or migrated.
    """
    _prepare_file(settings)
    migrated = await at_database(settings, migrating.upgrade)
    if migrated.before is None:
        log.info("database_created", revision=migrated.after)
    elif migrated.before != migrated.after:
        log.info("database_migrated", before=migrated.before, after=migrated.after)
    return migrated


async def at_database(settings: Settings, fn: Callable[[Connection], T]) -> T:
    """Run `fn` in a transaction that excludes every other call of this function, in any process.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    database = open_database(settings.database_direct_url or settings.database_url)
    try:
        return await database.exclusively(fn)
    except (DBAPIError, OSError) as error:
        reason = str(getattr(error, "orig", error)) or type(error).__name__
        hint = "Check TRACKER_DATABASE_URL, and that the database runs and accepts connections."
        message = f"{settings.database_name} cannot be opened: {reason}."
        raise StoreUnavailable(message, hint) from error
    finally:
        await database.close()
