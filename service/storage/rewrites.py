"""Rewriting of rows that an older version wrote: in batches, beside the service, and resumable.

A revision of the schema never touches rows, since nobody is answered until it ends. What it would
have rewritten is a step here, and readers take both forms until all rows are gone through.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Table, select, text, update

from service.domain.redaction import body_without_tokens
from service.storage.engine import batches
from service.storage.tables import RewriteRow

REWRITES: Table = RewriteRow.__table__  # type: ignore[attr-defined]

Step = Callable[[Connection, str | None, int], tuple[str | None, int]]
"""Rewrites the rows after a position, some at most, and may find them rewritten already.

Answers the position of the last, None if there are no more, and how many were gone through.
"""

_FIND = text(
    "SELECT id, assets, outputs, request FROM generations WHERE id > :after ORDER BY id LIMIT :most"
)
_SET = text(
    "UPDATE generations SET assets = :assets, outputs = :outputs, request = :request WHERE id = :id"
)
_BODIES = text("SELECT id, body FROM deliveries WHERE id > :after ORDER BY id LIMIT :most")
_SET_BODY = text("UPDATE deliveries SET body = :body WHERE id = :id")
_BODIES_AT_ONCE = 20  # a body may have a megabyte


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How far one has come."""

    name: str
    done: int
    finished_at: datetime | None


def documents(connection: Connection, after: str | None, limit: int) -> tuple[str | None, int]:
    """Documents in the words in which they are sent; PostgreSQL keeps them in words of its own."""
    if batches.is_postgres(connection):
        return None, 0
    found = connection.execute(_FIND, {"after": after or "", "most": limit}).mappings()
    rows = [dict(row) for row in found]
    reworded = [{name: _reworded(name, row[name]) for name in row} for row in rows]
    if changed := [now for row, now in zip(rows, reworded, strict=True) if now != row]:
        connection.execute(_SET, changed)
    return (rows[-1]["id"] if len(rows) == limit else None), len(rows)


def bodies(connection: Connection, after: str | None, limit: int) -> tuple[str | None, int]:
    """Bodies of callbacks without our tokens, as they are kept now; digests stay of what came."""
    most = min(limit, _BODIES_AT_ONCE)
    rows = connection.execute(_BODIES, {"after": after or "", "most": most}).all()
    kept = [(row.id, bytes(row.body), body_without_tokens(bytes(row.body))) for row in rows]
    if changed := [{"id": id_, "body": now} for id_, then, now in kept if now != then]:
        connection.execute(_SET_BODY, changed)
    return (rows[-1].id if len(rows) == most else None), len(rows)


STEPS: Mapping[str, Step] = {"documents": documents, "bodies": bodies}
"""All that there are. A name is never used again: a database knows it as finished."""


def unfinished(connection: Connection, steps: Mapping[str, Step]) -> list[str]:
    """The names of those that are not finished, in their order."""
    finished = select(REWRITES.c.name).where(REWRITES.c.finished_at.is_not(None))
    names = set(connection.execute(finished).scalars())
    return [name for name in steps if name not in names]


def advance(
    connection: Connection, name: str, step: Step, limit: int, now: datetime
) -> Rewrite | None:
    """Rewrite one batch; None if it is finished, or another instance is at it."""
    begun = {"name": name, "position": None, "done": 0, "finished_at": None}
    batches.insert(connection, REWRITES, [begun], batches.skip)
    open_ = REWRITES.c.name == name, REWRITES.c.finished_at.is_(None)
    claim = select(REWRITES).where(*open_).with_for_update(skip_locked=True)
    row = connection.execute(claim).mappings().one_or_none()
    if row is None:
        return None
    position, count = step(connection, row["position"], limit)
    rewrite = Rewrite(name, row["done"] + count, None if position else now)
    moved = {"position": position, "done": rewrite.done, "finished_at": rewrite.finished_at}
    connection.execute(update(REWRITES).where(REWRITES.c.name == name).values(moved))
    return rewrite


def progress(connection: Connection) -> list[Rewrite]:
    """How far each has come; of a database that is older than all of this, nothing."""
    if not connection.dialect.has_table(connection, REWRITES.name):
        return []
    columns = REWRITES.c.name, REWRITES.c.done, REWRITES.c.finished_at
    known = {row.name: Rewrite(*row) for row in connection.execute(select(*columns))}
    return [known.get(name, Rewrite(name, 0, None)) for name in {**STEPS, **known}]


def _reworded(name: str, told: Any) -> Any:
    """The same document; what is none stays as it is."""
    if name == "id" or told is None:
        return told
    try:
        return batches.document(from_json(told))
    except ValueError:
        return told
