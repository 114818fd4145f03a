"""The database's schema, by hand."""

from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from service import migrating
from service.bootstrap import make_room
from service.config import Settings
from service.db import make_engine
from service.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Revisions:
    """Where the database is, and where this version wants it."""

    current: str | None
    head: str | None


def upgraded(settings: Settings) -> str:
    """Migrate; answers what was done."""
    make_room(settings)
    engine = make_engine(settings.database_url)
    try:
        migrated = migrating.upgrade(engine)
    finally:
        engine.dispose()
    return f"database: {migrated.before or 'none'} -> {migrated.after}"


def revisions(settings: Settings) -> Revisions:
    """Both revisions; makes no database where there is none.

    Raises:
        StoreUnavailable: the file is not a database.
    """
    if not settings.database_path.exists():
        return Revisions(None, migrating.head())
    engine = make_engine(settings.database_url)
    try:
        with engine.begin() as connection:
            return Revisions(migrating.revision(connection), migrating.head())
    except DBAPIError as error:
        raise StoreUnavailable(f"{settings.database_path}: {error.orig}.") from error
    finally:
        engine.dispose()
