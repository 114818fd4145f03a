"""The inbox in SQL: every authenticated callback, and the outcome of folding it.

A body is stored byte for byte, except that the callback tokens in it are redacted, because Luma
echoes them. The digest is that of the received bytes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    TextClause,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    select,
    text,
    update,
)
from uuid_utils import uuid7

from service.domain.generation import Outcome
from service.storage.engine import batches
from service.storage.pruning import delete_old
from service.storage.tables import GIVEN_UP, UNFOLDED, BindingRow, DeliveryRow

DELIVERIES: Table = DeliveryRow.__table__  # type: ignore[attr-defined]
BINDINGS: Table = BindingRow.__table__  # type: ignore[attr-defined]

_SETTLE = update(DELIVERIES).where(
    DELIVERIES.c.id == bindparam("delivery_id"), DELIVERIES.c.handled_at.is_(None)
)
_COLUMNS = [c for c in DELIVERIES.c if c.name not in ("body", "digest", "tries")]
_RESULT = ("generation_id", "outcome", "error", "handled_at")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery, without its body."""

    id: str
    received_at: datetime
    generation_id: str | None
    outcome: str
    error: str | None
    duplicates: int
    handled_at: datetime | None


@dataclass(slots=True)
class Arrival:
    """A callback that has just been received, and its outcome."""

    digest: str
    body: bytes
    at: datetime
    id: str
    generation_id: str | None = None
    outcome: Outcome = Outcome.KEPT
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """Return the values for the table."""
        return {
            "id": self.id,
            "digest": self.digest,
            "body": self.body,
            "received_at": self.at,
            "generation_id": self.generation_id,
            "outcome": self.outcome,
            "error": self.error,
            "duplicates": 0,
            "handled_at": None if self.outcome is Outcome.KEPT else self.at,
            "tries": int(self.outcome is Outcome.KEPT),
        }


def prepare(
    connection: Connection, callbacks: Sequence[tuple[bytes, bytes, datetime]]
) -> list[Arrival]:
    """Give each callback an id. Identical bodies share one id, including bodies in the inbox.

    Args:
        connection: of the current transaction.
        callbacks: the body of each as received and without tokens, and when it was received.
    """
    digests = [hashlib.sha256(received).hexdigest() for received, _, _ in callbacks]
    known = batches.find(connection, DELIVERIES.c.digest, {*digests}, ("digest", "id"))
    ids = {row["digest"]: row["id"] for row in known}
    for digest in digests:
        if digest not in ids:
            ids[digest] = str(uuid7())
    return [
        Arrival(digest, body, at, ids[digest])
        for digest, (_, body, at) in zip(digests, callbacks, strict=True)
    ]


def add(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    """Add callbacks to the inbox. A body is stored once; each repetition counts as a duplicate.

    The outcome of the first successful folding of a body is final. Until then, the latest error
    is stored.
    """
    rows: dict[str, dict[str, Any]] = {}
    for arrival in sorted(arrivals, key=lambda a: a.digest):  # one lock order: no deadlock
        if known := rows.get(arrival.digest):
            known["duplicates"] += 1
        else:
            rows[arrival.digest] = arrival.row()
    batches.insert(connection, DELIVERIES, list(rows.values()), _count_duplicates)


def _count_duplicates(statement: Any) -> Any:
    new, unhandled = statement.excluded, DELIVERIES.c.handled_at.is_(None)
    result = {n: case((unhandled, new[n]), else_=DELIVERIES.c[n]) for n in _RESULT}
    duplicates = DELIVERIES.c.duplicates + new.duplicates + literal_column("1")
    tries = case((unhandled, DELIVERIES.c.tries + new.tries), else_=DELIVERIES.c.tries)
    return statement.on_conflict_do_update(
        index_elements=["digest"], set_={"duplicates": duplicates, "tries": tries, **result}
    )


def settle_delivery(
    connection: Connection, delivery_id: str, generation_id: str, outcome: Outcome, at: datetime
) -> None:
    """Record the outcome of folding a delivery. The first recorded outcome is final."""
    settled = {"generation_id": generation_id, "outcome": outcome, "error": None, "handled_at": at}
    connection.execute(_SETTLE, settled | {"delivery_id": delivery_id})


def fail_delivery(
    connection: Connection, delivery_id: str, generation_id: str | None, error: str
) -> None:
    """Record why a delivery could not be folded. It stays unfolded, to be retried."""
    failed = {"generation_id": generation_id, "error": error, "tries": DELIVERIES.c.tries + 1}
    connection.execute(_SETTLE.values(failed), {"delivery_id": delivery_id})


def bind(connection: Connection, wanted: Sequence[tuple[str, str]], at: datetime) -> dict[str, str]:
    """Bind each single-use token to the first generation that is reported with it.

    Args:
        connection: of the current transaction.
        wanted: pairs of a token's nonce and the generation reported with it.
        at: the current time.

    Returns:
        The generation that each nonce is bound to.
    """
    if not wanted:
        return {}
    rows = [{"nonce": nonce, "generation_id": id_, "bound_at": at} for nonce, id_ in wanted]
    batches.insert(connection, BINDINGS, sorted(rows, key=lambda row: row["nonce"]), batches.skip)
    owners = select(BINDINGS.c.nonce, BINDINGS.c.generation_id)
    found = connection.execute(owners.where(BINDINGS.c.nonce.in_({n for n, _ in wanted})))
    return {row.nonce: row.generation_id for row in found}


def rebind(connection: Connection, nonce: str, generation_id: str, at: datetime) -> None:
    """Bind a single-use token to the generation that Luma itself named."""
    row = {"nonce": nonce, "generation_id": generation_id, "bound_at": at}
    batches.insert(connection, BINDINGS, [row], _take_generation)


def _take_generation(statement: Any) -> Any:
    taken = {"generation_id": statement.excluded.generation_id}
    return statement.on_conflict_do_update(index_elements=["nonce"], set_=taken)


def body_of(connection: Connection, delivery_id: str) -> bytes | None:
    """Return the stored body of a delivery; None if there is no such delivery."""
    found = connection.execute(select(DELIVERIES.c.body).where(DELIVERIES.c.id == delivery_id))
    return found.scalar()


def find_delivery(connection: Connection, delivery_id: str) -> Delivery | None:
    """Return a delivery; None if there is no such delivery."""
    row = connection.execute(select(*_COLUMNS).where(DELIVERIES.c.id == delivery_id)).mappings()
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
    """List deliveries that are older than the delivery `before`, newest first.

    Ids are ordered by time.
    """
    conditions: list[ColumnElement[bool]] = []
    if outcomes:
        conditions.append(DELIVERIES.c.outcome.in_(outcomes))
    if generation_ids:
        conditions.append(DELIVERIES.c.generation_id.in_(generation_ids))
    if before:
        conditions.append(DELIVERIES.c.id < before)
    rows = connection.execute(
        select(*_COLUMNS).where(*conditions).order_by(DELIVERIES.c.id.desc()).limit(limit)
    )
    return [Delivery(**row) for row in rows.mappings()]


def unfolded(connection: Connection, after: str, limit: int) -> list[tuple[str, str]]:
    """List deliveries that are to be folded again, oldest first.

    Args:
        connection: of the current transaction.
        after: the id after which to start.
        limit: the maximum number of deliveries.

    Returns:
        The id of each delivery and the generation that it names.
    """
    columns = DELIVERIES.c.id, DELIVERIES.c.generation_id
    matches = _UNFOLDED, DELIVERIES.c.id > after
    found = select(*columns).where(*matches).order_by(DELIVERIES.c.id).limit(limit)
    return [(row.id, row.generation_id) for row in connection.execute(found)]


def oldest_unfolded(connection: Connection) -> datetime | None:
    """Return when the oldest delivery that is to be folded again was received."""
    return _oldest(connection, _UNFOLDED)


def oldest_untried(connection: Connection) -> datetime | None:
    """Return when the oldest delivery that has not been retried yet was received."""
    return _oldest(connection, _UNFOLDED, DELIVERIES.c.tries <= literal_column("1"))


def _oldest(connection: Connection, *which: ColumnElement[bool] | TextClause) -> datetime | None:
    # Order by id, as the partial index does. Order by time would read all handled deliveries.
    oldest = select(DELIVERIES.c.received_at).where(*which).order_by(DELIVERIES.c.id).limit(1)
    return connection.execute(oldest).scalar()


def given_up(connection: Connection) -> int:
    """Count the deliveries that name a generation and are no longer retried automatically."""
    found = select(func.count()).select_from(DELIVERIES).where(_GIVEN_UP)
    return connection.execute(found).scalar_one()


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` deliveries received before `before`, and return their number."""
    return delete_old(connection, DELIVERIES.c.id, DELIVERIES.c.received_at, before, limit)


def remove(connection: Connection, generation_id: str) -> None:
    """Delete all deliveries for one generation."""
    connection.execute(delete(DELIVERIES).where(DELIVERIES.c.generation_id == generation_id))


_UNFOLDED = text(UNFOLDED)
_GIVEN_UP = text(GIVEN_UP)
