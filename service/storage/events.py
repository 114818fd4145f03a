"""Events in SQL: every recorded change of every generation, in one order.

Functions of a connection, run by `service.storage.engine` in its transactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, select, text

from service.storage.engine import batches
from service.storage.generations import Change
from service.storage.tables import EventRow

EVENTS: Table = EventRow.__table__  # type: ignore[attr-defined]

_CHANGES = (
    select(EVENTS.c.seq, EVENTS.c.generation_id)
    .where(EVENTS.c.seq > bindparam("after"))
    .order_by(EVENTS.c.seq)
    .limit(bindparam("most"))
)
_NUMBERS_LOCK = 0x65766E74
_NUMBERING = text(f"SELECT pg_advisory_xact_lock({_NUMBERS_LOCK})")


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one generation, as history shows it."""

    seq: int
    generation_id: str
    from_state: str | None
    to_state: str
    rev: int
    source: str
    at: datetime
    delivery_id: str | None


def add(connection: Connection, changes: Sequence[Change]) -> None:
    """Note changes in the history.

    Instances number their events one after another, so that numbers become visible in order:
    whoever has seen an event will never see one with a smaller number appear.
    """
    if changes and batches.is_postgres(connection):
        connection.execute(_NUMBERING)
    batches.insert(connection, EVENTS, [_row(change) for change in changes])


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
    """The number of the newest event; 0 if there is none."""
    return connection.execute(select(func.max(EVENTS.c.seq))).scalar() or 0


def oldest_seq(connection: Connection) -> int:
    """The number of the oldest event that is kept; 0 if there is none."""
    return connection.execute(select(func.min(EVENTS.c.seq))).scalar() or 0


def after(connection: Connection, after: int, limit: int) -> list[Event]:
    """Events of all generations, in their order, from behind `after`."""
    rows = connection.execute(
        select(EVENTS).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq).limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def changes_after(connection: Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """The same, but only their numbers and which generations changed."""
    rows = connection.execute(_CHANGES, {"after": after, "most": limit})
    return [(row.seq, row.generation_id) for row in rows]


def of_generation(
    connection: Connection, generation_id: str, *, after: int, limit: int
) -> list[Event]:
    """The history of one generation, oldest first, from behind `after`."""
    rows = connection.execute(
        select(EVENTS)
        .where(EVENTS.c.generation_id == generation_id, EVENTS.c.seq > after)
        .order_by(EVENTS.c.seq)
        .limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` events older than that; how many were."""
    old = select(EVENTS.c.seq).where(EVENTS.c.at < before).limit(limit)
    old = old.with_for_update(skip_locked=True)
    return connection.execute(delete(EVENTS).where(EVENTS.c.seq.in_(old))).rowcount
