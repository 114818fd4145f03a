"""What `doctor` and `db` ask a database that no tracker has been opened on."""

from dataclasses import dataclass

from sqlalchemy import Connection

from service.storage import deliveries, generations, migrating
from service.storage.rewrites import Rewrite, progress


@dataclass(frozen=True, slots=True)
class Revisions:
    """The schema's revision in the database, and the one that this version needs."""

    current: str | None
    head: str
    rewrites: tuple[Rewrite, ...] = ()
    """How far the rewriting of old rows has come."""

    @classmethod
    def of_no_database(cls) -> "Revisions":
        """Where there is no file yet."""
        return cls(None, migrating.head())

    @property
    def up_to_date(self) -> bool:
        """Whether nothing has to be migrated."""
        return self.current == self.head


@dataclass(frozen=True, slots=True)
class Contents:
    """What `doctor` wants to know of the rows."""

    deliveries_given_up: int
    newest_confirmed: dict[str, str | None]
    """For each upstream, a generation that it should know."""


def revisions(connection: Connection) -> Revisions:
    """Where the schema is; changes nothing."""
    found = tuple(progress(connection))
    return Revisions(migrating.revision(connection), migrating.head(), found)


def contents(connection: Connection, upstreams: tuple[str, ...]) -> Contents:
    """Of a database whose schema is up to date."""
    newest = {name: generations.newest_confirmed(connection, name) for name in upstreams}
    return Contents(deliveries.given_up(connection), newest)
