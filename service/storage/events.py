"""Events in SQL: every recorded change of every generation, in one order.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, select, text

from service.storage.engine import Database, Dialect, batches
from service.storage.generations import Change
from service.storage.pruning import delete_old
from service.storage.tables import EventRow

EVENTS: Table = EventRow.__table__  # type: ignore[attr-defined]

_CHANGES_AFTER = (
    select(EVENTS.c.seq, EVENTS.c.generation_id)
    .where(EVENTS.c.seq > bindparam("after"))
    .order_by(EVENTS.c.seq)
    .limit(bindparam("limit"))
)
_SELECT = "SELECT seq, generation_id FROM events WHERE seq > {0}1 ORDER BY seq LIMIT {0}2"
_FETCH_CHANGES_AFTER = {
    Dialect.SQLITE: _SELECT.format("?"),
    Dialect.POSTGRES: _SELECT.format("$"),
}
_SEQ_LOCK_ID = 0x65766E74
_LOCK_SEQ = text(f"SELECT pg_advisory_xact_lock({_SEQ_LOCK_ID})")


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded change of a generation."""

    seq: int
    generation_id: str
    from_state: str | None
    to_state: str
    rev: int
    source: str
    at: datetime
    delivery_id: str | None


def add(connection: Connection, changes: Sequence[Change]) -> None:
    """Record changes as events.

    On PostgreSQL, only one transaction at a time may add events, so that they become visible in
    the order of `seq`: once a reader has seen an event, no event with a lower `seq` appears.
    """
    if changes:
        lock(connection)
    batches.insert(connection, EVENTS, [_row(change) for change in changes])


def lock(connection: Connection) -> None:
    """Wait until no other transaction adds events, and let none add any until this one ends."""
    if batches.is_postgres(connection):
        connection.execute(_LOCK_SEQ)


def _row(change: Change) -> dict[str, Any]:
    return {
        "generation_id": change.after.id,
        "from_state": change.before.state if change.before else None,
        "to_state": change.after.state,
        "rev": change.after.rev,
        "source": change.after.source,
        "at": change.after.updated_at,
        "delivery_id": change.delivery_id,
    }


def newest_seq(connection: Connection) -> int:
    """Return the `seq` of the newest event; 0 if there is none."""
    return connection.execute(select(func.max(EVENTS.c.seq))).scalar() or 0


def oldest_seq(connection: Connection) -> int:
    """Return the `seq` of the oldest event that is still stored; 0 if there is none."""
    return connection.execute(select(func.min(EVENTS.c.seq))).scalar() or 0


def after(connection: Connection, after: int, limit: int) -> list[Event]:
    """Return events of all generations with a `seq` above `after`, in order."""
    rows = connection.execute(
        select(EVENTS).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq).limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def changes_after(connection: Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """Return `seq` and generation id of events with a `seq` above `after`, in order."""
    rows = connection.execute(_CHANGES_AFTER, {"after": after, "limit": limit})
    return [(row.seq, row.generation_id) for row in rows]


async def fetch_changes_after(database: Database, after: int, limit: int) -> list[tuple[int, str]]:
    """Like `changes_after`, in no transaction, and without a thread if possible.

    Raises:
        StoreUnavailable: the database did not answer.
    """
    found = await database.fetch(_FETCH_CHANGES_AFTER[database.dialect], after, limit)
    return [(seq, generation_id) for seq, generation_id in found]


def of_generation(
    connection: Connection, generation_id: str, *, after: int, limit: int
) -> list[Event]:
    """Return events of one generation with a `seq` above `after`, oldest first."""
    rows = connection.execute(
        select(EVENTS)
        .where(EVENTS.c.generation_id == generation_id, EVENTS.c.seq > after)
        .order_by(EVENTS.c.seq)
        .limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` events from before `before`, and return their number."""
    return delete_old(connection, EVENTS.c.seq, EVENTS.c.at, before, limit)
