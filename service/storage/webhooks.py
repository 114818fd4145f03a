"""Endpoints in SQL: where changes of state are sent.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from service.domain.generation import Generation
from service.domain.query import Conditions, Query, Word, matches, parse
from service.domain.text import clean_text
from service.errors import InvalidQuery
from service.storage.engine import batches
from service.storage.tables import WebhookRow

WEBHOOKS: Table = WebhookRow.__table__  # type: ignore[attr-defined]

_CRITERIA = ("id", "states", "generation_id", "q")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One endpoint."""

    id: str
    url: str
    states: list[str] | None
    """The states that it wants; None: all."""
    generation_id: str | None
    """The only generation that it wants; None: all."""
    q: str | None
    """The query that must match what it wants; None: any."""
    enabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one endpoint wants to receive."""

    id: str
    states: list[str] | None
    generation_id: str | None
    q: str | None

    def wants(self, generation: Generation, conditions: Conditions) -> bool:
        """Whether the endpoint is to be told of a generation that has just changed its state."""
        return (
            (self.states is None or generation.state in self.states)
            and self.generation_id in (None, generation.id)
            and (not self.q or matches(_parsed(self.q), generation, conditions))
        )


@lru_cache(256)
def _parsed(q: str) -> Query:
    """Parse a stored query; one that an older version took as words, and is none now, is a word."""
    try:
        return parse(q)
    except InvalidQuery:
        return Query(tuple(map(Word, clean_text(q).split())))


def subscriptions(connection: Connection) -> list[Subscription]:
    """Return what the enabled endpoints want; every batch of changes asks, so it is quick."""
    rows = batches.find(connection, WEBHOOKS.c.enabled, [True], _CRITERIA)
    return [Subscription(**row) for row in rows]


def add(connection: Connection, webhook: Webhook) -> None:
    """Store an endpoint."""
    connection.execute(insert(WEBHOOKS).values(asdict(webhook)))


def find(connection: Connection, webhook_id: str) -> Webhook | None:
    """Return an endpoint; None if there is none with that id."""
    row = connection.execute(select(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id)).mappings().first()
    return Webhook(**row) if row else None


def every(connection: Connection) -> list[Webhook]:
    """List the endpoints, oldest first."""
    rows = connection.execute(select(WEBHOOKS).order_by(WEBHOOKS.c.id)).mappings()
    return [Webhook(**row) for row in rows]


def count(connection: Connection) -> int:
    """Count the endpoints."""
    return connection.execute(select(func.count()).select_from(WEBHOOKS)).scalar_one()


def remove(connection: Connection, webhook_id: str) -> bool:
    """Delete an endpoint; returns whether it existed."""
    return connection.execute(delete(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id)).rowcount == 1


def enable(connection: Connection, webhook_id: str, *, enabled: bool) -> None:
    """Enable or disable an endpoint."""
    which = WEBHOOKS.c.id == webhook_id
    connection.execute(update(WEBHOOKS).where(which).values(enabled=enabled))
