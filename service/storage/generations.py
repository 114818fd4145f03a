"""Generations in SQL: the rows that observations are merged into.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    case,
    exists,
    select,
    update,
)

from service.domain.generation import TERMINAL_STATES, Generation, Source
from service.domain.schedule import OpenRow
from service.storage.engine import Conflict, batches
from service.storage.tables import GenerationRow

GENERATIONS: Table = GenerationRow.__table__  # type: ignore[attr-defined]

_FIELDS = Generation._fields

# Fields that never change once they are known. Most indexes contain them, so an update of the other
# fields alone does not touch those indexes.
_FIXED_FIELDS = (
    *("id", "upstream", "generation_type", "operation", "model", "prompt", "created_at"),
    *("request", "parent_id", "callback_url", "first_seen_at"),
)
_fixed_fields = attrgetter(*_FIXED_FIELDS)
_CHANGING_FIELDS = tuple(name for name in _FIELDS if name not in _FIXED_FIELDS)

# Statements that every callback or lookup runs are built once: building costs more than running.
COLUMNS = [GENERATIONS.c[name] for name in _FIELDS]
"""The columns of `Generation`; all except `ordered_at`, which is only a sort key."""

_FIND = select(*COLUMNS).where(GENERATIONS.c.id == bindparam("wanted"))
_ANY_DUE = select(
    exists().where(
        GENERATIONS.c.next_check_at <= bindparam("now"),
        GENERATIONS.c.upstream.in_(bindparam("upstreams", expanding=True)),
    )
)
# An expression, so that the planner reads the rows by due time and not by state.
_is_terminal: ColumnElement[Any] = case((GENERATIONS.c.state.in_(TERMINAL_STATES), 1), else_=0)
_CLAIM = update(GENERATIONS).where(
    GENERATIONS.c.id == bindparam("row_id"), GENERATIONS.c.next_check_at == bindparam("was_due_at")
)


_OPEN = (
    select(*(GENERATIONS.c[name] for name in OpenRow._fields))
    .where(
        GENERATIONS.c.upstream == bindparam("upstream"),
        GENERATIONS.c.next_check_at.is_not(None),
        _is_terminal == 0,
    )
    .order_by(GENERATIONS.c.next_check_at)
    .limit(bindparam("most"))
)


class Change(NamedTuple):
    """A row, its new version, and the delivery that caused the change, if one did."""

    before: Generation | None
    after: Generation
    delivery_id: str | None = None


def find(connection: Connection, generation_id: str) -> Generation | None:
    """Return the row with that id; None if there is none."""
    row = connection.execute(_FIND, {"wanted": generation_id}).mappings().first()
    return as_generation(row) if row else None


def callback_urls(connection: Connection, ids: Collection[str]) -> dict[str, str | None]:
    """Return the creators' own callback URLs, by generation id."""
    rows = batches.find(connection, GENERATIONS.c.id, ids, ("id", "callback_url"))
    return {row["id"]: row["callback_url"] for row in rows}


def newest_confirmed(connection: Connection, upstream: str) -> str | None:
    """Return the id of the newest verified generation of an upstream that is not gone."""
    confirmed = (
        GENERATIONS.c.upstream == upstream,
        GENERATIONS.c.verified,
        GENERATIONS.c.gone_at.is_(None),
    )
    newest = select(GENERATIONS.c.id).where(*confirmed).order_by(GENERATIONS.c.ordered_at.desc())
    found: str | None = connection.execute(newest.limit(1)).scalar()
    return found


def find_all(connection: Connection, ids: Collection[str]) -> dict[str, Generation]:
    """Return the existing rows with those ids, by id."""
    if not ids:
        return {}
    rows = batches.find(connection, GENERATIONS.c.id, ids, _FIELDS)
    return {row["id"]: as_generation(row) for row in rows}


def lock(connection: Connection, ids: Collection[str]) -> dict[str, Generation]:
    """Return the existing rows with those ids, by id, locked until the transaction commits."""
    rows = batches.find(connection, GENERATIONS.c.id, ids, _FIELDS, lock=True)
    return {row["id"]: as_generation(row) for row in rows}


def save(connection: Connection, changes: Sequence[Change]) -> None:
    """Replace each `before` with its `after`, as compare-and-set on `rev`.

    Raises:
        Conflict: another writer has changed one of the rows since; retry the transaction.
    """
    new = [_columns(c.after) for c in changes if c.before is None]
    new.sort(key=lambda row: row["id"])  # one lock order for all instances: no deadlock
    existing = [c for c in changes if c.before is not None]
    updated = [c for c in existing if _fixed_fields(c.before) == _fixed_fields(c.after)]
    filled = [c for c in existing if _fixed_fields(c.before) != _fixed_fields(c.after)]
    written = batches.insert(connection, GENERATIONS, new, batches.skip)
    written += batches.replace(
        connection, GENERATIONS, _replacements(updated, _CHANGING_FIELDS), "rev"
    )
    written += batches.replace(connection, GENERATIONS, _replacements(filled, _FIELDS), "rev")
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
    """Return rows that are due for a check, the longest due first, and claim them.

    Claiming moves the due time to `until` in the same transaction, so that no other instance
    checks the same row.

    Args:
        connection: of the current transaction.
        upstream: whose rows.
        claims: True for terminal rows, whose claims are to be verified; False for open rows.
        now: the current time.
        limit: the maximum number of rows.
        until: the new due time.
    """
    rows = connection.execute(
        select(*COLUMNS)
        .where(
            GENERATIONS.c.next_check_at <= now,
            GENERATIONS.c.upstream == upstream,
            _is_terminal == int(claims),
        )
        .order_by(GENERATIONS.c.next_check_at)
        .limit(limit)
        .with_for_update(skip_locked=True)  # another instance is claiming those
    ).mappings()
    found = [as_generation(row) for row in rows.all()]
    return [row for row in found if _claim(connection, row, until)]


def open_rows(connection: Connection, upstream: str, limit: int) -> list[OpenRow]:
    """Return the open rows of an upstream for which a check is scheduled, the longest due first."""
    found = connection.execute(_OPEN, {"upstream": upstream, "most": limit})
    return [OpenRow(*row) for row in found]


def claim(connection: Connection, rows: Sequence[OpenRow], until: datetime) -> list[Generation]:
    """Claim rows that are still as they were read; see `claim_due`. Returns them in their order."""
    current = lock(connection, [row.id for row in rows])
    found = [
        current[row.id]
        for row in rows
        if row.id in current and current[row.id].next_check_at == row.next_check_at
    ]
    return [row for row in found if _claim(connection, row, until)]


def any_due(connection: Connection, upstreams: Sequence[str], now: datetime) -> bool:
    """Whether any row of these upstreams is due for a check."""
    return connection.execute(_ANY_DUE, {"now": now, "upstreams": upstreams}).scalar_one()


def _claim(connection: Connection, row: Generation, until: datetime) -> bool:
    due = {"row_id": row.id, "was_due_at": row.next_check_at}
    return connection.execute(_CLAIM, due | {"next_check_at": until}).rowcount == 1


def reschedule(
    connection: Connection, row: Generation, due: datetime | None, refusals: int
) -> None:
    """Set the due time of a row, unless the row has changed since it was read."""
    unchanged = GENERATIONS.c.id == row.id, GENERATIONS.c.rev == row.rev
    values = {"next_check_at": due, "refusals": refusals}
    connection.execute(update(GENERATIONS).where(*unchanged).values(values))


def reset_future_checks(connection: Connection, now: datetime, latest: datetime) -> int:
    """Make rows due now whose check is later than `latest`, and return their number.

    No check is scheduled that far ahead unless the clock was ahead.
    """
    ahead = GENERATIONS.c.next_check_at > latest
    return connection.execute(update(GENERATIONS).where(ahead).values(next_check_at=now)).rowcount


def as_generation(row: Mapping[Any, Any]) -> Generation:
    """Convert a row with `COLUMNS` to a `Generation`."""
    source, outputs = Source(row["source"]), tuple(row["outputs"])
    return Generation(**{**row, "source": source, "outputs": outputs})


def _columns(generation: Generation, names: tuple[str, ...] = _FIELDS) -> dict[str, Any]:
    values = dict(zip(names, _getter(names)(generation), strict=True))
    if "created_at" in values:
        values["ordered_at"] = generation.ordered_at
    return values


_getter = cache(lambda names: attrgetter(*names))


def _replacements(changes: Sequence[Change], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"id": c.after.id, **_columns(c.after, names), "before_rev": c.before.rev}
        for c in changes
        if c.before is not None
    ]
