"""Brings a database to the schema that this version of the code expects.

Alembic is imported only where there is something to do: it takes long, and nearly every start
finds the database as it should be.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, text

from service.errors import StoreUnavailable

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "migrations"  # where the wheel puts them
_LOCATION = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"
_REVISION = text("SELECT version_num FROM alembic_version")


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which revision to which; None stands for an empty database."""

    before: str | None
    after: str | None


def upgrade(connection: Connection) -> Migrated:
    """Bring the database to the newest revision. Nobody else must do so meanwhile.

    Raises:
        StoreUnavailable: it was made by a newer version of the code.
    """
    before = revision(connection)
    if before == head():
        return Migrated(before, before)
    _migrate(connection)
    return Migrated(before, revision(connection))


def revision(connection: Connection) -> str | None:
    """The revision that a database is at; None before the first."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found: str | None = connection.execute(_REVISION).scalar()
    return found


@cache
def head() -> str:
    """The revision that this code expects: the last, and files begin with their revision."""
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
            "It was probably made by a newer luma-tracker; update this one.",
        ) from error
