"""Read-only checks of a database on which no tracker is open, for `doctor` and `db`."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from service.domain.counting import Name
from service.storage import (
    attempts,
    counters,
    deliveries,
    generations,
    migrating,
    outbox,
    webhooks,
    words,
)
from service.storage.rewrites import Rewrite, progress


@dataclass(frozen=True, slots=True)
class Revisions:
    """The schema revision of the database, and the one that this version needs."""

    current: str | None
    head: str
    rewrites: tuple[Rewrite, ...] = ()
    """The progress of the rewrites of old rows."""

    @classmethod
    def of_no_database(cls) -> "Revisions":
        """Return the revisions for a database file that does not exist yet."""
        return cls(None, migrating.head())

    @property
    def up_to_date(self) -> bool:
        """Whether no migration is needed."""
        return self.current == self.head


@dataclass(frozen=True, slots=True)
class Contents:
    """What `doctor` reports about the rows."""

    deliveries_given_up: int
    newest_confirmed: dict[str, str | None]
    """For each upstream, the id of a generation that it should know."""
    webhooks_disabled: int = 0
    webhooks_failing: tuple[str, ...] = ()
    """The ids of enabled endpoints whose newest attempt failed."""
    oldest_waiting: datetime | None = None
    """When the oldest message was written that was not delivered yet."""
    words_indexed: bool | None = None
    """Whether searches for words use their index; None: there is none."""


def revisions(connection: Connection) -> Revisions:
    """Read the schema revisions; changes nothing."""
    found = tuple(progress(connection))
    return Revisions(migrating.revision(connection), migrating.head(), found)


def contents(connection: Connection, upstreams: tuple[str, ...]) -> Contents:
    """Read what `doctor` reports, from a database whose schema is up to date."""
    newest = {name: generations.newest_confirmed(connection, name) for name in upstreams}
    endpoints = webhooks.every(connection)
    enabled = [endpoint.id for endpoint in endpoints if endpoint.enabled]
    return Contents(
        deliveries.given_up(connection),
        newest,
        webhooks_disabled=len(endpoints) - len(enabled),
        webhooks_failing=tuple(id_ for id_ in enabled if attempts.is_failing(connection, id_)),
        oldest_waiting=outbox.oldest_waiting(connection),
        words_indexed=words.is_complete(connection),
    )


def differing_states(connection: Connection) -> list[str]:
    """Return the states of which the counters and a recount of all generations differ."""
    counted = Counter[str]()
    for each in counters.read(connection, [Name.STATE], None, None):
        counted[each.key] += each.value
    found = counters.by_state(connection)
    return sorted(state for state in {*counted, *found} if counted[state] != found.get(state, 0))
