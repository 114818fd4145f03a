"""The inbox in SQL: every authenticated callback, and what became of it.

A body is kept byte for byte but for our tokens, which Luma echoes; its digest is of what came.
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
from service.domain.redaction import body_without_tokens
from service.storage.engine import batches
from service.storage.tables import GIVEN_UP, UNFOLDED, BindingRow, DeliveryRow

DELIVERIES: Table = DeliveryRow.__table__  # type: ignore[attr-defined]
BINDINGS: Table = BindingRow.__table__  # type: ignore[attr-defined]

_SETTLE = update(DELIVERIES).where(
    DELIVERIES.c.id == bindparam("kept_id"), DELIVERIES.c.handled_at.is_(None)
)
_SHOWN = [c for c in DELIVERIES.c if c.name not in ("body", "digest", "tries")]
_VERDICT = ("generation_id", "outcome", "error", "handled_at")


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


@dataclass(slots=True)
class Arrival:
    """A callback that has just come, and what became of it."""

    digest: str
    body: bytes
    at: datetime
    id: str
    generation_id: str | None = None
    outcome: Outcome = Outcome.KEPT
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """For the table."""
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


def arrivals(connection: Connection, came: Sequence[tuple[bytes, datetime]]) -> list[Arrival]:
    """Callbacks as they come in; the same bytes have the same id, also those that came before."""
    digests = [hashlib.sha256(body).hexdigest() for body, _ in came]
    known = batches.find(connection, DELIVERIES.c.digest, {*digests}, ("digest", "id"))
    ids = {row["digest"]: row["id"] for row in known}
    for digest in digests:
        if digest not in ids:
            ids[digest] = str(uuid7())
    return [
        Arrival(digest, body_without_tokens(body), at, ids[digest])
        for digest, (body, at) in zip(digests, came, strict=True)
    ]


def keep(connection: Connection, came: Sequence[Arrival]) -> None:
    """Put callbacks into the inbox, each body once however often it comes.

    What the first folding of a body did stands; until it is folded, the last error does.
    """
    rows: dict[str, dict[str, Any]] = {}
    for arrival in sorted(came, key=lambda a: a.digest):  # instances must not deadlock
        if known := rows.get(arrival.digest):
            known["duplicates"] += 1
        else:
            rows[arrival.digest] = arrival.row()
    batches.insert(connection, DELIVERIES, list(rows.values()), _count_again)


def _count_again(statement: Any) -> Any:
    new, unhandled = statement.excluded, DELIVERIES.c.handled_at.is_(None)
    verdict = {n: case((unhandled, new[n]), else_=DELIVERIES.c[n]) for n in _VERDICT}
    duplicates = DELIVERIES.c.duplicates + new.duplicates + literal_column("1")
    tries = case((unhandled, DELIVERIES.c.tries + new.tries), else_=DELIVERIES.c.tries)
    return statement.on_conflict_do_update(
        index_elements=["digest"], set_={"duplicates": duplicates, "tries": tries, **verdict}
    )


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
    failed = {"generation_id": generation_id, "error": error, "tries": DELIVERIES.c.tries + 1}
    connection.execute(_SETTLE.values(failed), {"kept_id": delivery_id})


def bind(connection: Connection, wanted: Sequence[tuple[str, str]], at: datetime) -> dict[str, str]:
    """Whose each single token is: of the first generation that it speaks of.

    Args:
        wanted: tokens' nonces, and the generations that they speak of.
    """
    if not wanted:
        return {}
    rows = [{"nonce": nonce, "generation_id": id_, "bound_at": at} for nonce, id_ in wanted]
    batches.insert(connection, BINDINGS, sorted(rows, key=lambda row: row["nonce"]), batches.skip)
    owners = select(BINDINGS.c.nonce, BINDINGS.c.generation_id)
    found = connection.execute(owners.where(BINDINGS.c.nonce.in_({n for n, _ in wanted})))
    return {row.nonce: row.generation_id for row in found}


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


def unfolded(connection: Connection, after: str, limit: int) -> list[tuple[str, str]]:
    """Deliveries that are to be folded again, oldest first, behind `after`.

    Returns:
        The id of each, and the generation that it names.
    """
    columns = DELIVERIES.c.id, DELIVERIES.c.generation_id
    behind = _UNFOLDED, DELIVERIES.c.id > after
    found = select(*columns).where(*behind).order_by(DELIVERIES.c.id).limit(limit)
    return [(row.id, row.generation_id) for row in connection.execute(found)]


def kept(connection: Connection, limit: int) -> list[str]:
    """Deliveries that are not folded, for whatever reason, oldest first."""
    unhandled = DELIVERIES.c.handled_at.is_(None)
    rows = connection.execute(
        select(DELIVERIES.c.id).where(unhandled).order_by(DELIVERIES.c.id).limit(limit)
    )
    return list(rows.scalars())


def oldest_unfolded(connection: Connection) -> datetime | None:
    """When the oldest of them came."""
    return _oldest(connection, _UNFOLDED)


def oldest_untried(connection: Connection) -> datetime | None:
    """When the oldest came that was not even tried again."""
    return _oldest(connection, _UNFOLDED, DELIVERIES.c.tries <= literal_column("1"))


def _oldest(connection: Connection, *which: ColumnElement[bool] | TextClause) -> datetime | None:
    # By id, as the index of the unfolded has them: by time, all handled ones would be read.
    oldest = select(DELIVERIES.c.received_at).where(*which).order_by(DELIVERIES.c.id).limit(1)
    return connection.execute(oldest).scalar()


def given_up(connection: Connection) -> int:
    """How many deliveries name a generation and are folded again only by people."""
    found = select(func.count()).select_from(DELIVERIES).where(_GIVEN_UP)
    return connection.execute(found).scalar_one()


def prune_deliveries(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` deliveries older than that; how many were."""
    old = select(DELIVERIES.c.id).where(DELIVERIES.c.received_at < before).limit(limit)
    old = old.with_for_update(skip_locked=True)
    return connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(old))).rowcount


_UNFOLDED = text(UNFOLDED)
_GIVEN_UP = text(GIVEN_UP)
