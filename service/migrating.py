"""Brings a database to the schema that this version of the code expects."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from service.errors import StoreUnavailable

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "migrations"  # where the wheel puts them
_LOCATION = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"


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
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnavailable(
            f"The database cannot be migrated: {error}.",
            "It was probably made by a newer luma-tracker; update this one.",
        ) from error
    return Migrated(before, revision(connection))


def revision(connection: Connection) -> str | None:
    """The revision that a database is at; None before the first."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """The revision that this code expects."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_LOCATION).replace("%", "%%"))
    return config
