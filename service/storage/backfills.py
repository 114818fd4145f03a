"""Walks through an upstream's list in SQL: the newest of each upstream, one at a time.

The instance that owns a running walk reports regularly (`heard_at`). If it stops, another takes
the walk over; everything that the former owner still tries to write is rejected.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, insert, select, text, update

from service.domain.generation import is_ahead
from service.domain.paging import Place
from service.storage.engine import batches
from service.storage.tables import BackfillRow

BACKFILLS: Table = BackfillRow.__table__  # type: ignore[attr-defined]

RUNNING, DONE, FAILED = "running", "done", "failed"

_LOCK_ID = 0x6261636B
_LOCK = text(f"SELECT pg_advisory_xact_lock({_LOCK_ID})")
_PLACE = ("position", "last_ids", "newest", "oldest")


class Walk(NamedTuple):
    """One walk through the list of an upstream."""

    upstream: str
    since: datetime | None
    """Only generations created since then are read; None: all."""
    everything: bool
    """Whether it goes on where everything is stored already."""
    started_at: datetime
    owner: str
    """The instance that continues it."""
    heard_at: datetime
    """When the owner last reported."""
    state: str = RUNNING
    place: Place = Place()
    known_until: datetime | None = None
    """Everything that was created until then has been read by earlier walks."""
    pages: int = 0
    seen: int = 0
    new: int = 0
    error: str | None = None
    failure: str | None = None
    """The kind of the error."""
    finished_at: datetime | None = None

    def covers(self, other: "Walk") -> bool:
        """Whether this walk reads everything that the other one would."""
        if self.upstream != other.upstream or other.everything:
            return self.upstream == other.upstream and self.everything
        if other.since is None or self.since is None:
            return self.everything or self.since == other.since
        return self.since <= other.since


def newest(connection: Connection) -> Walk | None:
    """Return the walk that was started last; None if there was none."""
    found = connection.execute(select(BACKFILLS).order_by(BACKFILLS.c.started_at.desc()).limit(1))
    row = found.mappings().first()
    return _walk(row) if row else None


def find(connection: Connection, upstream: str) -> Walk | None:
    """Return the newest walk through the list of an upstream."""
    found = connection.execute(select(BACKFILLS).where(BACKFILLS.c.upstream == upstream))
    row = found.mappings().first()
    return _walk(row) if row else None


def any_running(connection: Connection) -> bool:
    """Whether any walk is running."""
    return bool(_running(connection))


def start(connection: Connection, wanted: Walk) -> tuple[Walk, bool]:
    """Start a walk, unless one is running.

    Returns:
        The running walk, and whether it has just been started.
    """
    if batches.is_postgres(connection):
        connection.execute(_LOCK)
    if running := _running(connection):
        return running[0], False
    before = find(connection, wanted.upstream)
    walk = wanted._replace(known_until=before.known_until if before else None)
    connection.execute(delete(BACKFILLS).where(BACKFILLS.c.upstream == walk.upstream))
    connection.execute(insert(BACKFILLS).values(_columns(walk)))
    return walk, True


def claim(
    connection: Connection, owner: str, upstreams: Sequence[str], now: datetime, lease: timedelta
) -> Walk | None:
    """Return a running walk to continue: of `owner`, or of one that has not reported for `lease`.

    Args:
        connection: of the current transaction.
        owner: who continues it from now on.
        upstreams: whose walks.
        now: the current time.
        lease: how long a walk belongs to an owner that does not report.
    """
    for walk in _running(connection):
        expired = now - walk.heard_at > lease or is_ahead(walk.heard_at, now)
        if walk.upstream in upstreams and (walk.owner == owner or expired):
            taken = walk._replace(owner=owner, heard_at=now)
            return taken if _update(connection, walk, owner=owner, heard_at=now) else None
    return None


def save(connection: Connection, walk: Walk) -> bool:
    """Write a walk; False if it is no longer its owner's."""
    return _update(connection, walk, **_columns(walk))


def report(connection: Connection, walk: Walk, at: datetime) -> bool:
    """Record that the owner still continues the walk; False if it is no longer its owner's."""
    return _update(connection, walk, heard_at=at)


def _running(connection: Connection) -> list[Walk]:
    running = select(BACKFILLS).where(BACKFILLS.c.state == RUNNING)
    return [_walk(row) for row in connection.execute(running).mappings()]


def _update(connection: Connection, walk: Walk, **values: Any) -> bool:
    owned = (
        BACKFILLS.c.upstream == walk.upstream,
        BACKFILLS.c.owner == walk.owner,
        BACKFILLS.c.state == RUNNING,
    )
    return connection.execute(update(BACKFILLS).where(*owned).values(values)).rowcount == 1


def _columns(walk: Walk) -> dict[str, Any]:
    place = {name: getattr(walk.place, name) for name in _PLACE}
    columns = {**walk._asdict(), **place, "last_ids": list(walk.place.last_ids)}
    del columns["place"]
    return columns


def _walk(row: Any) -> Walk:
    columns = dict(row)
    place = Place(**{name: columns.pop(name) for name in _PLACE})
    return Walk(**columns, place=place._replace(last_ids=tuple(place.last_ids)))
