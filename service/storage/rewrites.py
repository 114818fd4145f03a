"""Rewrites rows that an older version wrote: in batches, while the service runs, resumably.

Migrations do not rewrite rows, because the service does not answer until they end. Such changes
are rewrites here instead, and readers accept both forms until a rewrite has finished.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Table, select, text, update

from service.domain.redaction import body_without_tokens
from service.storage import counters
from service.storage.engine import batches
from service.storage.tables import RewriteRow

REWRITES: Table = RewriteRow.__table__  # type: ignore[attr-defined]

Step = Callable[[Connection, str | None, int], tuple[str | None, int]]
"""Rewrites rows after a position, up to a limit. Must accept rows that are rewritten already.

Returns the position of the last row (None if there are no more), and the number of rows
processed.
"""

_FIND_DOCUMENTS = text(
    "SELECT id, assets, outputs, request FROM generations"
    " WHERE id > :after ORDER BY id LIMIT :limit"
)
_SET_DOCUMENTS = text(
    "UPDATE generations SET assets = :assets, outputs = :outputs, request = :request WHERE id = :id"
)
_FIND_BODIES = text("SELECT id, body FROM deliveries WHERE id > :after ORDER BY id LIMIT :limit")
_SET_BODY = text("UPDATE deliveries SET body = :body WHERE id = :id")
_BODIES_PER_BATCH = 20  # a body can be a megabyte long


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The progress of one rewrite; `done` is the number of rows processed."""

    name: str
    done: int
    finished_at: datetime | None


def documents(connection: Connection, after: str | None, limit: int) -> tuple[str | None, int]:
    """Rewrite JSON columns to the form in which they are sent. PostgreSQL does not need this."""
    if batches.is_postgres(connection):
        return None, 0
    found = connection.execute(_FIND_DOCUMENTS, {"after": after or "", "limit": limit}).mappings()
    rows = [dict(row) for row in found]
    rewritten = [{name: _normalized(name, row[name]) for name in row} for row in rows]
    if changed := [new for row, new in zip(rows, rewritten, strict=True) if new != row]:
        connection.execute(_SET_DOCUMENTS, changed)
    return (rows[-1]["id"] if len(rows) == limit else None), len(rows)


def bodies(connection: Connection, after: str | None, limit: int) -> tuple[str | None, int]:
    """Redact callback tokens in stored bodies. Digests stay those of the received bytes."""
    batch = min(limit, _BODIES_PER_BATCH)
    rows = connection.execute(_FIND_BODIES, {"after": after or "", "limit": batch}).all()
    redacted = [(row.id, bytes(row.body), body_without_tokens(bytes(row.body))) for row in rows]
    if changed := [{"id": id_, "body": new} for id_, old, new in redacted if new != old]:
        connection.execute(_SET_BODY, changed)
    return (rows[-1].id if len(rows) == batch else None), len(rows)


STEPS: Mapping[str, Step] = {
    "documents": documents,
    "bodies": bodies,
    "counters": counters.recount_next,
}
"""All rewrites, in order. Never reuse a name: databases store it as finished."""


def unfinished(connection: Connection, steps: Mapping[str, Step]) -> list[str]:
    """Return the names of the rewrites that are not finished, in order."""
    finished = select(REWRITES.c.name).where(REWRITES.c.finished_at.is_not(None))
    names = set(connection.execute(finished).scalars())
    return [name for name in steps if name not in names]


def advance(
    connection: Connection, name: str, step: Step, limit: int, now: datetime
) -> Rewrite | None:
    """Rewrite one batch; None if the rewrite has finished or another instance is running it."""
    initial = {"name": name, "position": None, "done": 0, "finished_at": None}
    batches.insert(connection, REWRITES, [initial], batches.skip)
    unfinished_ = REWRITES.c.name == name, REWRITES.c.finished_at.is_(None)
    claim = select(REWRITES).where(*unfinished_).with_for_update(skip_locked=True)
    row = connection.execute(claim).mappings().one_or_none()
    if row is None:
        return None
    position, count = step(connection, row["position"], limit)
    rewrite = Rewrite(name, row["done"] + count, None if position else now)
    values = {"position": position, "done": rewrite.done, "finished_at": rewrite.finished_at}
    connection.execute(update(REWRITES).where(REWRITES.c.name == name).values(values))
    return rewrite


def progress(connection: Connection) -> list[Rewrite]:
    """Return the progress of each rewrite; nothing if the database has no table of rewrites yet."""
    if not connection.dialect.has_table(connection, REWRITES.name):
        return []
    columns = REWRITES.c.name, REWRITES.c.done, REWRITES.c.finished_at
    known = {row.name: Rewrite(*row) for row in connection.execute(select(*columns))}
    return [known.get(name, Rewrite(name, 0, None)) for name in {**STEPS, **known}]


def _normalized(name: str, value: Any) -> Any:
    """Return a JSON document in the stored form. Other values stay unchanged."""
    if name == "id" or value is None:
        return value
    try:
        return batches.dump_json(from_json(value))
    except ValueError:
        return value
