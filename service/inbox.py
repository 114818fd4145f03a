"""The inbox in SQL: every authenticated callback, byte for byte, and what became of it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from uuid_utils import uuid7

from service.generation import Outcome
from service.tables import BindingRow, DeliveryRow

DELIVERIES: Table = DeliveryRow.__table__  # type: ignore[attr-defined]
BINDINGS: Table = BindingRow.__table__  # type: ignore[attr-defined]

# What every callback runs is built once: building a statement costs more than running it.
_COUNT_AGAIN = (
    update(DELIVERIES)
    .where(DELIVERIES.c.digest == bindparam("known"))
    .values(duplicates=DELIVERIES.c.duplicates + 1)
    .returning(DELIVERIES.c.id)
)
_KEEP = insert(DELIVERIES)
_SETTLE = update(DELIVERIES).where(
    DELIVERIES.c.id == bindparam("kept_id"), DELIVERIES.c.handled_at.is_(None)
)
_SHOWN = [column for column in DELIVERIES.c if column.name not in ("body", "digest")]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One callback, without its body."""

    id: str
    received_at: datetime
    generation_id: str | None
    outcome: str
    error: str | None
    duplicates: int
    handled_at: datetime | None


def keep_delivery(connection: Connection, body: bytes, at: datetime) -> str:
    """Put a callback's body into the inbox, once however often it comes; answers its id."""
    digest = hashlib.sha256(body).hexdigest()
    known = connection.execute(_COUNT_AGAIN, {"known": digest}).scalar()
    if known is not None:
        return str(known)
    delivery = {
        "id": str(uuid7()),
        "digest": digest,
        "body": body,
        "received_at": at,
        "outcome": Outcome.KEPT,
        "duplicates": 0,
    }
    connection.execute(_KEEP, delivery)
    return str(delivery["id"])


def settle_delivery(
    connection: Connection, delivery_id: str, generation_id: str, outcome: Outcome, at: datetime
) -> None:
    """Note what folding a delivery did; what the first folding did stands."""
    settled = {"generation_id": generation_id, "outcome": outcome, "error": None, "handled_at": at}
    connection.execute(_SETTLE, settled | {"kept_id": delivery_id})


def fail_delivery(
    connection: Connection, delivery_id: str, generation_id: str | None, error: str
) -> None:
    """Note why a delivery could not be folded; it stays to be folded later."""
    failed = {"generation_id": generation_id, "error": error}
    connection.execute(_SETTLE, failed | {"kept_id": delivery_id})


def bind(connection: Connection, nonce: str, generation_id: str, at: datetime) -> bool:
    """Whether a single token may speak of that generation; the first one it speaks of is its."""
    bound = connection.execute(
        select(BINDINGS.c.generation_id).where(BINDINGS.c.nonce == nonce)
    ).scalar()
    if bound is None:
        connection.execute(
            insert(BINDINGS).values(nonce=nonce, generation_id=generation_id, bound_at=at)
        )
    return bound in (None, generation_id)


def body_of(connection: Connection, delivery_id: str) -> bytes | None:
    """A delivery's bytes, as they came."""
    found = connection.execute(select(DELIVERIES.c.body).where(DELIVERIES.c.id == delivery_id))
    return found.scalar()


def find_delivery(connection: Connection, delivery_id: str) -> Delivery | None:
    """What is known of a delivery."""
    row = connection.execute(select(*_SHOWN).where(DELIVERIES.c.id == delivery_id)).mappings()
    found = row.first()
    return Delivery(**found) if found else None


def deliveries(
    connection: Connection,
    *,
    outcomes: tuple[str, ...],
    generation_ids: tuple[str, ...],
    before: str | None,
    limit: int,
) -> list[Delivery]:
    """Deliveries, newest first, older than the delivery `before`; ids are ordered by time."""
    conditions: list[ColumnElement[bool]] = []
    if outcomes:
        conditions.append(DELIVERIES.c.outcome.in_(outcomes))
    if generation_ids:
        conditions.append(DELIVERIES.c.generation_id.in_(generation_ids))
    if before:
        conditions.append(DELIVERIES.c.id < before)
    rows = connection.execute(
        select(*_SHOWN).where(*conditions).order_by(DELIVERIES.c.id.desc()).limit(limit)
    )
    return [Delivery(**row) for row in rows.mappings()]


def unfolded(connection: Connection, after: str, limit: int) -> list[str]:
    """Deliveries that name a generation but could not be folded, oldest first, behind `after`."""
    rows = connection.execute(
        select(DELIVERIES.c.id)
        .where(*_UNFOLDED, DELIVERIES.c.id > after)
        .order_by(DELIVERIES.c.id)
        .limit(limit)
    )
    return list(rows.scalars())


def kept(connection: Connection, limit: int) -> list[str]:
    """Deliveries that are not folded, for whatever reason, oldest first."""
    unhandled = DELIVERIES.c.handled_at.is_(None)
    rows = connection.execute(
        select(DELIVERIES.c.id).where(unhandled).order_by(DELIVERIES.c.id).limit(limit)
    )
    return list(rows.scalars())


def oldest_unfolded(connection: Connection) -> datetime | None:
    """When the oldest of them came."""
    return connection.execute(select(func.min(DELIVERIES.c.received_at)).where(*_UNFOLDED)).scalar()


def prune_deliveries(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` deliveries older than that; how many were."""
    old = select(DELIVERIES.c.id).where(DELIVERIES.c.received_at < before).limit(limit)
    return connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(old))).rowcount


# What names no generation cannot be folded by trying again: it is kept for people to look at.
_UNFOLDED = (DELIVERIES.c.handled_at.is_(None), DELIVERIES.c.generation_id.is_not(None))
