"""Generations in SQL: the rows that observations are merged into.

Functions of a connection, run by `service.storage.engine` in its transactions.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    case,
    exists,
    select,
    update,
)

from service.domain.generation import TERMINAL_STATES, Generation, Source
from service.storage.engine import Conflict, batches
from service.storage.tables import GenerationRow

GENERATIONS: Table = GenerationRow.__table__  # type: ignore[attr-defined]

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
