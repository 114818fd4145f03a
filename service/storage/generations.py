"""Generations and their history in SQL; `inbox` has the deliveries, `listing` the pages.

Functions of a connection, run by `service.storage.engine` in its transactions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    case,
    delete,
    exists,
    func,
    select,
    text,
    update,
)

from service.domain.generation import TERMINAL_STATES, Generation, Source
from service.storage.engine import Conflict, batches
from service.storage.tables import EventRow, GenerationRow

GENERATIONS: Table = GenerationRow.__table__  # type: ignore[attr-defined]
EVENTS: Table = EventRow.__table__  # type: ignore[attr-defined]

_FIELDS = Generation._fields

# What stays for a generation's life once it is known, and is in most of the indexes: they are
# left alone while only the rest moves.
_FIXED = (
    *("id", "upstream", "generation_type", "operation", "model", "prompt", "created_at"),
    *("request", "parent_id", "first_seen_at"),
)
_FIXED_OF = attrgetter(*_FIXED)
_MOVING = tuple(name for name in _FIELDS if name not in _FIXED)

# What every callback or lookup runs is built once: building costs more than running.
COLUMNS = [GENERATIONS.c[name] for name in _FIELDS]
"""All but what only lists are sorted by."""

_FIND = select(*COLUMNS).where(GENERATIONS.c.id == bindparam("wanted"))
_ANY_DUE = select(
    exists().where(
        GENERATIONS.c.next_check_at <= bindparam("now"),
        GENERATIONS.c.upstream.in_(bindparam("upstreams", expanding=True)),
    )
)
_PUT_OFF = update(GENERATIONS).where(
    GENERATIONS.c.id == bindparam("before_id"), GENERATIONS.c.next_check_at == bindparam("seen_at")
)
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


class Change(NamedTuple):
    """A row, what it is to become, and the delivery that told it, if one did."""

    before: Generation | None
    after: Generation
    delivery_id: str | None = None


def find(connection: Connection, generation_id: str) -> Generation | None:
    """The row of that id."""
    row = connection.execute(_FIND, {"wanted": generation_id}).mappings().first()
    return as_generation(row) if row else None


def newest_confirmed(connection: Connection, upstream: str) -> str | None:
    """The newest generation that this upstream confirmed, and did not give up."""
    confirmed = (
        GENERATIONS.c.upstream == upstream,
        GENERATIONS.c.verified,
        GENERATIONS.c.gone_at.is_(None),
    )
    newest = select(GENERATIONS.c.id).where(*confirmed).order_by(GENERATIONS.c.ordered_at.desc())
    found: str | None = connection.execute(newest.limit(1)).scalar()
    return found


def lock(connection: Connection, ids: Collection[str]) -> dict[str, Generation]:
    """The rows of those ids that there are, kept from other writers until we commit."""
    rows = batches.find(connection, GENERATIONS.c.id, ids, _FIELDS, lock=True)
    return {row["id"]: as_generation(row) for row in rows}


def save(connection: Connection, changes: Sequence[Change]) -> None:
    """Put each `after` in the place of its `before`.

    Raises:
        Conflict: somebody else has written one of them since; begin again.
    """
    new = [_columns(c.after) for c in changes if c.before is None]
    new.sort(key=lambda row: row["id"])  # instances that add the same rows must not deadlock
    told = [c for c in changes if c.before is not None]
    moved = [c for c in told if _FIXED_OF(c.before) == _FIXED_OF(c.after)]
    filled = [c for c in told if _FIXED_OF(c.before) != _FIXED_OF(c.after)]
    written = batches.insert(connection, GENERATIONS, new, batches.skip)
    written += batches.replace(connection, GENERATIONS, _replaced(moved, _MOVING), "rev")
    written += batches.replace(connection, GENERATIONS, _replaced(filled, _FIELDS), "rev")
    if written < len(changes):
        raise Conflict


def add_events(connection: Connection, changes: Sequence[Change]) -> None:
    """Note changes in the history.

    Instances number their events one after another, so that numbers become visible in order:
    whoever has seen an event will never see one with a smaller number appear.
    """
    if changes and batches.is_postgres(connection):
        connection.execute(_NUMBERING)
    batches.insert(connection, EVENTS, [_event(change) for change in changes])


def _event(change: Change) -> dict[str, Any]:
    return {
        "generation_id": change.after.id,
        "from_state": change.before.state if change.before else None,
        "to_state": change.after.state,
        "rev": change.after.rev,
        "source": change.after.source,
        "at": change.after.updated_at,
        "delivery_id": change.delivery_id,
    }


def last_event(connection: Connection) -> int:
    """The number of the newest event; 0 if there is none."""
    return connection.execute(select(func.max(EVENTS.c.seq))).scalar() or 0


def oldest_event(connection: Connection) -> int:
    """The number of the oldest event that is kept; 0 if there is none."""
    return connection.execute(select(func.min(EVENTS.c.seq))).scalar() or 0


def events_after(connection: Connection, after: int, limit: int) -> list[Event]:
    """Events of all generations, in their order, from behind `after`."""
    rows = connection.execute(
        select(EVENTS).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq).limit(limit)
    )
    return [Event(**row) for row in rows.mappings()]


def changes_after(connection: Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """The same, but only their numbers and which generations changed."""
    rows = connection.execute(_CHANGES, {"after": after, "most": limit})
    return [(row.seq, row.generation_id) for row in rows]


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
    old = old.with_for_update(skip_locked=True)
    return connection.execute(delete(EVENTS).where(EVENTS.c.seq.in_(old))).rowcount


def claim_due(
    connection: Connection,
    upstream: str,
    *,
    claims: bool,
    now: datetime,
    limit: int,
    until: datetime,
) -> list[Generation]:
    """Rows to ask an upstream about, the longest due first: claims of a final state, or the open.

    Each is put off `until` then in the same step, so that nobody else asks about it too.
    """
    final = case((GENERATIONS.c.state.in_(TERMINAL_STATES), 1), else_=0)  # read by due time alone
    rows = connection.execute(
        select(*COLUMNS)
        .where(
            GENERATIONS.c.next_check_at <= now,
            GENERATIONS.c.upstream == upstream,
            final == int(claims),
        )
        .order_by(GENERATIONS.c.next_check_at)
        .limit(limit)
        .with_for_update(skip_locked=True)  # another instance claims those
    ).mappings()
    found = [as_generation(row) for row in rows.all()]
    return [row for row in found if _put_off(connection, row, until)]


def any_due(connection: Connection, upstreams: Sequence[str], now: datetime) -> bool:
    """Whether there is anything to ask these upstreams about."""
    return connection.execute(_ANY_DUE, {"now": now, "upstreams": upstreams}).scalar_one()


def _put_off(connection: Connection, row: Generation, until: datetime) -> bool:
    place = {"before_id": row.id, "seen_at": row.next_check_at}
    return connection.execute(_PUT_OFF, place | {"next_check_at": until}).rowcount == 1


def reschedule(
    connection: Connection, row: Generation, due: datetime | None, refusals: int
) -> None:
    """Say when to ask about a row, unless there was news of it meanwhile."""
    unchanged = GENERATIONS.c.id == row.id, GENERATIONS.c.rev == row.rev
    values = {"next_check_at": due, "refusals": refusals}
    connection.execute(update(GENERATIONS).where(*unchanged).values(values))


def recall(connection: Connection, now: datetime, latest: datetime) -> int:
    """Make due what is to be asked about later than ever: a clock was ahead. How many it was."""
    ahead = GENERATIONS.c.next_check_at > latest
    return connection.execute(update(GENERATIONS).where(ahead).values(next_check_at=now)).rowcount


def as_generation(row: Mapping[Any, Any]) -> Generation:
    """What `COLUMNS` of the table say, as the domain knows it."""
    source, outputs = Source(row["source"]), tuple(row["outputs"])
    return Generation(**{**row, "source": source, "outputs": outputs})


def _columns(generation: Generation, names: tuple[str, ...] = _FIELDS) -> dict[str, Any]:
    values = dict(zip(names, _getter(names)(generation), strict=True))
    if "created_at" in values:
        values["ordered_at"] = generation.ordered_at
    return values


_getter = cache(lambda names: attrgetter(*names))


def _replaced(changes: Sequence[Change], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"id": c.after.id, **_columns(c.after, names), "before_rev": c.before.rev}
        for c in changes
        if c.before is not None
    ]
