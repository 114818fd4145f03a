"""Migrates a database to the schema that this version of the code expects.

Alembic is imported only if there is something to migrate, because the import is slow and nearly
every start finds the database up to date.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, text

from service.errors import StoreUnavailable

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "migrations"  # the location in the wheel
_LOCATION = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"
_REVISION = text("SELECT version_num FROM alembic_version")


@dataclass(frozen=True, slots=True)
class Migrated:
    """The revisions before and after; None means an empty database."""

    before: str | None
    after: str | None


def upgrade(connection: Connection) -> Migrated:
    """Migrate the database to the newest revision. Only one process may do so at a time.

    Raises:
        StoreUnavailable: the database was created by a newer version of the code.
    """
    before = revision(connection)
    if before == head():
        return Migrated(before, before)
    _migrate(connection)
    return Migrated(before, revision(connection))


def revision(connection: Connection) -> str | None:
    """Return the revision of a database; None if it has none."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found: str | None = connection.execute(_REVISION).scalar()
    return found


@cache
def head() -> str:
    """Return the revision that this code expects: the highest prefix of the migration files."""
    return max(path.stem.partition("_")[0] for path in (_LOCATION / "versions").glob("[0-9]*.py"))


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_LOCATION).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnavailable(
            f"The database cannot be migrated: {error}.",
            "A newer version of luma-tracker probably created it. Update this installation.",
        ) from error
