"""The outbox in SQL: messages to endpoints.

A message is unfinished while it has a `next_at`. `service.storage.claims` sends them on.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from service.storage.engine import batches
from service.storage.tables import MessageRow

OUTBOX: Table = MessageRow.__table__  # type: ignore[attr-defined]

CREATORS = ""
"""The `webhook_id` of messages to the URLs that creators of generations gave."""
TEST = "test"
"""The state of a message that a test sends; it is not repeated."""


class Outcome(StrEnum):
    """How a message ended.

    DELIVERED: an attempt was answered with 2xx. FAILED: all attempts failed. GONE: the endpoint
    answered 410. DROPPED: the endpoint was deleted or disabled.
    """

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    DROPPED = "dropped"


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add messages. Those about one generation must be in the order of its changes."""
    batches.insert(connection, OUTBOX, rows)


def message_row(
    *,
    id_: str,
    webhook_id: str,
    generation_id: str,
    destination: str,
    state: str,
    body: bytes,
    at: datetime,
) -> dict[str, Any]:
    """Return the row of a new message, which is due at once."""
    return {
        "id": id_,
        "webhook_id": webhook_id,
        "generation_id": generation_id,
        "destination": destination,
        "state": state,
        "created_at": at,
        "tries": 0,
        "next_at": at,
        "outcome": None,
        "body": body,
    }


def add_one(connection: Connection, row: Mapping[str, Any]) -> int:
    """Add a message, and return its `seq`."""
    added = connection.execute(insert(OUTBOX).values(row).returning(OUTBOX.c.seq))
    return int(added.scalar_one())


def drop(connection: Connection, webhook_id: str) -> int:
    """End the unfinished messages to an endpoint, and return their number."""
    unfinished = OUTBOX.c.destination == webhook_id, OUTBOX.c.next_at.is_not(None)
    dropped = {"next_at": None, "outcome": Outcome.DROPPED}
    return connection.execute(update(OUTBOX).where(*unfinished).values(dropped)).rowcount


def oldest_waiting(connection: Connection) -> datetime | None:
    """Return when the oldest unfinished message was written."""
    waiting = select(func.min(OUTBOX.c.created_at)).where(OUTBOX.c.next_at.is_not(None))
    return connection.execute(waiting).scalar()


def prune_messages(connection: Connection, before: datetime, limit: int) -> int:
    """Delete finished messages from before `before`, of the `limit` oldest; returns their number.

    Messages are in the order of time, so that no index is needed, which each of them would cost.
    """
    finished = select(OUTBOX.c.seq, OUTBOX.c.created_at).where(OUTBOX.c.next_at.is_(None))
    oldest = finished.order_by(OUTBOX.c.seq).limit(limit).subquery()
    old = select(oldest.c.seq).where(oldest.c.created_at < before)
    return connection.execute(delete(OUTBOX).where(OUTBOX.c.seq.in_(old))).rowcount
