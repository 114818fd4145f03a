"""Every SQL statement. Functions of a connection, run by `service.db` in its transactions."""

import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, insert, select, update
from uuid_utils import uuid7

from service.generation import Generation, Outcome, Source
from service.tables import DeliveryRow, EventRow, GenerationRow

GENERATIONS: Table = GenerationRow.__table__  # type: ignore[attr-defined]
DELIVERIES: Table = DeliveryRow.__table__  # type: ignore[attr-defined]
EVENTS: Table = EventRow.__table__  # type: ignore[attr-defined]

_FIELDS = tuple(field.name for field in fields(Generation))


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


def find(connection: Connection, generation_id: str) -> Generation | None:
    """The row of that id."""
    rows = connection.execute(select(GENERATIONS).where(GENERATIONS.c.id == generation_id))
    row = rows.mappings().first()
    return as_generation(row) if row else None


def save(connection: Connection, before: Generation | None, after: Generation) -> bool:
    """Put `after` in the place of `before`; False if somebody else was faster."""
    values = _columns(after)
    if before is None:
        connection.execute(insert(GENERATIONS).values(values))
        return True
    changed = connection.execute(
        update(GENERATIONS)
        .where(GENERATIONS.c.id == before.id, GENERATIONS.c.rev == before.rev)
        .values(values)
    )
    return changed.rowcount == 1


def add_event(
    connection: Connection, before: Generation | None, after: Generation, delivery_id: str | None
) -> None:
    """Note a change in the history."""
    connection.execute(
        insert(EVENTS).values(
            generation_id=after.id,
            from_state=before.state if before else None,
            to_state=after.state,
            rev=after.rev,
            source=after.source,
            at=after.updated_at,
            delivery_id=delivery_id,
        )
    )


def events_of(connection: Connection, generation_id: str, *, after: int, limit: int) -> list[Event]:
    """The history of one generation, oldest first, from behind `after`."""
    rows = connection.execute(
        select(EVENTS)
        .where(EVENTS.c.generation_id == generation_id, EVENTS.c.seq > after)
        .order_by(EVENTS.c.seq)
        .limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def keep_delivery(connection: Connection, body: bytes, at: datetime) -> str:
    """Put a callback's body into the inbox, once however often it comes; answers its id."""
    digest = hashlib.sha256(body).hexdigest()
    known = connection.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.digest == digest)
        .values(duplicates=DELIVERIES.c.duplicates + 1)
        .returning(DELIVERIES.c.id)
    ).scalar()
    if known is not None:
        return str(known)
    delivery_id = str(uuid7())
    connection.execute(
        insert(DELIVERIES).values(
            id=delivery_id,
            digest=digest,
            body=body,
            received_at=at,
            outcome=Outcome.KEPT,
            duplicates=0,
        )
    )
    return delivery_id


def settle_delivery(
    connection: Connection, delivery_id: str, generation_id: str, outcome: Outcome, at: datetime
) -> None:
    """Note what folding a delivery did; what the first folding did stands."""
    connection.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.id == delivery_id, DELIVERIES.c.handled_at.is_(None))
        .values(generation_id=generation_id, outcome=outcome, error=None, handled_at=at)
    )


def fail_delivery(
    connection: Connection, delivery_id: str, generation_id: str | None, error: str
) -> None:
    """Note why a delivery could not be folded; it stays to be folded later."""
    connection.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.id == delivery_id, DELIVERIES.c.handled_at.is_(None))
        .values(generation_id=generation_id, error=error)
    )


def as_generation(row: RowMapping) -> Generation:
    """A row of the table as the domain knows it."""
    values: dict[str, Any] = {name: row[name] for name in _FIELDS}
    values["source"] = Source(values["source"])
    values["outputs"] = tuple(values["outputs"])
    return Generation(**values)


def _columns(generation: Generation) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(generation, name) for name in _FIELDS}
    values["outputs"] = list(generation.outputs)
    values["ordered_at"] = generation.created_at or generation.first_seen_at
    return values
