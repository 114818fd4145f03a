"""Generations and their history in SQL; `inbox` has the deliveries, `listing` the pages.

Functions of a connection, run by `service.db` in its transactions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Table,
    bindparam,
    case,
    delete,
    exists,
    insert,
    select,
    update,
)

from service.generation import TERMINAL_STATES, Generation, Source
from service.tables import EventRow, GenerationRow

GENERATIONS: Table = GenerationRow.__table__  # type: ignore[attr-defined]
EVENTS: Table = EventRow.__table__  # type: ignore[attr-defined]

_FIELDS = tuple(field.name for field in fields(Generation))

# What every callback runs is built once: building a statement costs more than running it.
_FIND = select(GENERATIONS).where(GENERATIONS.c.id == bindparam("wanted"))
_INSERT = insert(GENERATIONS)
_UPDATE = update(GENERATIONS).where(
    GENERATIONS.c.id == bindparam("before_id"), GENERATIONS.c.rev == bindparam("before_rev")
)
_ADD_EVENT = insert(EVENTS)
_ANY_DUE = select(
    exists().where(
        GENERATIONS.c.next_check_at <= bindparam("now"),
        GENERATIONS.c.upstream.in_(bindparam("upstreams", expanding=True)),
    )
)
_PUT_OFF = update(GENERATIONS).where(
    GENERATIONS.c.id == bindparam("before_id"), GENERATIONS.c.next_check_at == bindparam("seen_at")
)


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
    row = connection.execute(_FIND, {"wanted": generation_id}).mappings().first()
    return as_generation(row) if row else None


def save(connection: Connection, before: Generation | None, after: Generation) -> bool:
    """Put `after` in the place of `before`; False if somebody else was faster."""
    values = _columns(after)
    if before is None:
        connection.execute(_INSERT, values)
        return True
    place = {"before_id": before.id, "before_rev": before.rev}
    return connection.execute(_UPDATE, values | place).rowcount == 1


def add_event(
    connection: Connection, before: Generation | None, after: Generation, delivery_id: str | None
) -> None:
    """Note a change in the history."""
    event = {
        "generation_id": after.id,
        "from_state": before.state if before else None,
        "to_state": after.state,
        "rev": after.rev,
        "source": after.source,
        "at": after.updated_at,
        "delivery_id": delivery_id,
    }
    connection.execute(_ADD_EVENT, event)


def events_of(connection: Connection, generation_id: str, *, after: int, limit: int) -> list[Event]:
    """The history of one generation, oldest first, from behind `after`."""
    rows = connection.execute(
        select(EVENTS)
        .where(EVENTS.c.generation_id == generation_id, EVENTS.c.seq > after)
        .order_by(EVENTS.c.seq)
        .limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def prune_events(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` events older than that; how many were."""
    old = select(EVENTS.c.seq).where(EVENTS.c.at < before).limit(limit)
    return connection.execute(delete(EVENTS).where(EVENTS.c.seq.in_(old))).rowcount


def claim_due(
    connection: Connection,
    upstream: str,
    *,
    claims: bool,
    now: datetime,
    limit: int,
    reschedule: Callable[[Generation], datetime | None],
) -> list[Generation]:
    """Rows to ask an upstream about, the longest due first: claims of a final state, or the open.

    Each is put off in the same step, so that nobody else asks about it too.
    """
    final = case((GENERATIONS.c.state.in_(TERMINAL_STATES), 1), else_=0)  # read by due time alone
    rows = connection.execute(
        select(GENERATIONS)
        .where(
            GENERATIONS.c.next_check_at <= now,
            GENERATIONS.c.upstream == upstream,
            final == int(claims),
        )
        .order_by(GENERATIONS.c.next_check_at)
        .limit(limit)
    ).mappings()
    found = [as_generation(row) for row in rows.all()]
    return [row for row in found if _put_off(connection, row, reschedule(row))]


def any_due(connection: Connection, upstreams: Sequence[str], now: datetime) -> bool:
    """Whether there is anything to ask these upstreams about."""
    return connection.execute(_ANY_DUE, {"now": now, "upstreams": upstreams}).scalar_one()


def _put_off(connection: Connection, row: Generation, until: datetime | None) -> bool:
    place = {"before_id": row.id, "seen_at": row.next_check_at}
    values = {"next_check_at": until, "checks": row.checks + 1}
    return connection.execute(_PUT_OFF, place | values).rowcount == 1


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
