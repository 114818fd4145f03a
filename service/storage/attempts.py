"""Attempts in SQL: every try to send a message.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Table, select

from service.storage.engine import batches
from service.storage.outbox import OUTBOX
from service.storage.pruning import delete_old
from service.storage.tables import AttemptRow

ATTEMPTS: Table = AttemptRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send one message."""

    id: str
    generation_id: str
    webhook_id: str
    at: datetime
    state: str
    status: int | None
    error: str | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt, and the body that it sent."""

    attempt: Attempt
    body: bytes | None
    """None if the message is no longer stored."""


_FIELDS = tuple(Attempt.__dataclass_fields__)


def add(connection: Connection, made: Sequence[tuple[int, Attempt]]) -> None:
    """Add attempts, each with the `seq` of its message."""
    batches.insert(connection, ATTEMPTS, [_row(*each) for each in made])


def _row(seq: int, attempt: Attempt) -> dict[str, object]:
    return {**{name: getattr(attempt, name) for name in _FIELDS}, "message_seq": seq}


def page(
    connection: Connection, webhook_id: str, *, before: str | None, limit: int
) -> list[Attempt]:
    """List attempts of an endpoint that are older than the attempt `before`, newest first."""
    found = select(*(ATTEMPTS.c[name] for name in _FIELDS)).where(
        ATTEMPTS.c.webhook_id == webhook_id
    )
    if before:
        found = found.where(ATTEMPTS.c.id < before)
    rows = connection.execute(found.order_by(ATTEMPTS.c.id.desc()).limit(limit)).mappings()
    return [Attempt(**row) for row in rows]


def of_generation(connection: Connection, generation_id: str, limit: int) -> list[Sent]:
    """List attempts of messages about a generation, oldest first."""
    found = select(*(ATTEMPTS.c[name] for name in _FIELDS), OUTBOX.c.body)
    found = found.outerjoin(OUTBOX, OUTBOX.c.seq == ATTEMPTS.c.message_seq)
    found = found.where(ATTEMPTS.c.generation_id == generation_id)
    rows = connection.execute(found.order_by(ATTEMPTS.c.id).limit(limit)).mappings()
    return [Sent(Attempt(**{n: row[n] for n in _FIELDS}), row["body"]) for row in rows]


def message_of(connection: Connection, webhook_id: str, attempt_id: str) -> int | None:
    """Return the `seq` of the message of an attempt; None if one of them is not stored."""
    stored = select(OUTBOX.c.seq).join(ATTEMPTS, ATTEMPTS.c.message_seq == OUTBOX.c.seq)
    which = ATTEMPTS.c.id == attempt_id, ATTEMPTS.c.webhook_id == webhook_id
    seq: int | None = connection.execute(stored.where(*which)).scalar()
    return seq


def is_failing(connection: Connection, webhook_id: str) -> bool:
    """Whether the newest attempt of an endpoint failed."""
    newest = select(ATTEMPTS.c.error).where(ATTEMPTS.c.webhook_id == webhook_id)
    newest = newest.order_by(ATTEMPTS.c.id.desc()).limit(1)
    return connection.execute(newest).scalar() is not None


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` attempts from before `before`, and return their number."""
    return delete_old(connection, ATTEMPTS.c.id, ATTEMPTS.c.at, before, limit)
