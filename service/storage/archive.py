"""The archive in SQL: what is to be copied, by whom, and what is kept.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from service.domain.generation import Generation
from service.storage import events, generations
from service.storage.engine import batches
from service.storage.generations import GENERATIONS, Change
from service.storage.shape import as_text
from service.storage.tables import ArchivedFileRow, ArchiveRow, CopyRow

ARCHIVE: Table = ArchiveRow.__table__  # type: ignore[attr-defined]
COPIES: Table = CopyRow.__table__  # type: ignore[attr-defined]
FILES: Table = ArchivedFileRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One asset that is kept; `path` is where, in the archive."""

    generation_id: str
    name: str
    path: str
    bytes: int
    sha256: str
    content_type: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Copy:
    """A claimed generation, whose assets are to be copied."""

    generation: Generation
    tries: int
    until: datetime
    """The end of the claim."""


def is_wanted(row: Generation) -> bool:
    """Whether the assets of a row may be copied: completed, and confirmed by Luma."""
    return row.verified and row.state == "completed" and not row.is_gone and row.has_assets


def prepare(connection: Connection) -> None:
    """Make every instance on this database write down what is to be copied."""
    batches.insert(connection, ARCHIVE, [{"id": 1, "bytes": 0}], batches.skip)


def add(connection: Connection, changes: Sequence[Change], at: datetime) -> None:
    """Write down that the assets of the rows that have become completed and true are to be copied.

    Costs nothing for other changes.
    """
    new = [
        change.after.id
        for change in changes
        if is_wanted(change.after) and not (change.before and is_wanted(change.before))
    ]
    if new and connection.execute(select(ARCHIVE.c.id)).first():
        add_ids(connection, new, at)


def add_ids(connection: Connection, ids: Collection[str], at: datetime) -> int:
    """Write down that the assets of these generations are to be copied, if that is not yet done."""
    rows = [{"generation_id": id_, "next_at": at, "tries": 0, "error": None} for id_ in sorted(ids)]
    return batches.insert(connection, COPIES, rows, batches.skip)


def add_missing(connection: Connection, at: datetime, limit: int) -> int:
    """Write down older generations, and those that were given up; returns how many."""
    given_up = update(COPIES).where(COPIES.c.next_at.is_(None))
    again = connection.execute(given_up.values(next_at=at, tries=0, error=None)).rowcount
    wanted = _missing().where(GENERATIONS.c.id.not_in(select(COPIES.c.generation_id)))
    ids = connection.execute(wanted.limit(limit)).scalars().all()
    return again + add_ids(connection, ids, at)


def missing(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the generations of which nothing is kept, newest first, with the last error."""
    found = _missing().add_columns(COPIES.c.tries, COPIES.c.error, COPIES.c.next_at)
    joined = found.outerjoin_from(GENERATIONS, COPIES, COPIES.c.generation_id == GENERATIONS.c.id)
    ordered = joined.order_by(GENERATIONS.c.ordered_at.desc(), GENERATIONS.c.id.desc())
    return [dict(row) for row in connection.execute(ordered.limit(limit)).mappings()]


def _missing() -> Any:
    return select(GENERATIONS.c.id).where(
        GENERATIONS.c.verified,
        GENERATIONS.c.state == "completed",
        GENERATIONS.c.gone_at.is_(None),
        GENERATIONS.c.archived.is_(None),
    )


def claim(connection: Connection, now: datetime, until: datetime, limit: int) -> list[Copy]:
    """Claim the copies that are due, the longest due first.

    Claiming moves `next_at` to `until` in the same transaction, so that no other instance makes
    the same copy before.
    """
    due = select(COPIES).where(COPIES.c.next_at <= now).order_by(COPIES.c.next_at).limit(limit)
    rows = connection.execute(due.with_for_update(skip_locked=True)).mappings().all()
    ids = [row["generation_id"] for row in rows]
    if not ids:
        return []
    held = COPIES.c.generation_id.in_(ids)
    connection.execute(update(COPIES).where(held).values(next_at=until))
    found = generations.find_all(connection, ids)
    return [Copy(found[row["generation_id"]], row["tries"], until) for row in rows]


def record(connection: Connection, file: ArchivedFile) -> Generation:
    """Record that an asset is kept; its generation has a new `rev`."""
    known = files_of(connection, file.generation_id).get(file.name)
    if known:
        _remove_files(connection, [known])
    values = {name: getattr(file, name) for name in ArchivedFile.__slots__}
    connection.execute(insert(FILES).values(values))
    _count(connection, file.bytes)
    return _show(connection, file.generation_id, file.at)


def finish(connection: Connection, copy: Copy, next_at: datetime | None, error: str | None) -> None:
    """End a claim: all is kept (no error), it is tried again at `next_at`, or it is given up."""
    held = COPIES.c.generation_id == copy.generation.id, COPIES.c.next_at == copy.until
    if error is None:
        connection.execute(delete(COPIES).where(*held))
        return
    values = {"next_at": next_at, "tries": copy.tries + 1, "error": error}
    connection.execute(update(COPIES).where(*held).values(values))


def files_of(connection: Connection, generation_id: str) -> dict[str, ArchivedFile]:
    """Return the kept assets of a generation, by name."""
    found = connection.execute(select(FILES).where(FILES.c.generation_id == generation_id))
    return {row["name"]: ArchivedFile(**row) for row in found.mappings()}


def oldest(connection: Connection, before: datetime, limit: int) -> list[ArchivedFile]:
    """Return the assets that were copied before that time, oldest first."""
    old = select(FILES).where(FILES.c.at < before).order_by(FILES.c.at).limit(limit)
    return [ArchivedFile(**row) for row in connection.execute(old).mappings()]


def evict(connection: Connection, file: ArchivedFile, at: datetime) -> None:
    """Record that an asset is no longer kept."""
    _remove_files(connection, [file])
    _show(connection, file.generation_id, at)


def kept_bytes(connection: Connection) -> int:
    """Return how many bytes are kept."""
    found: int | None = connection.execute(select(ARCHIVE.c.bytes)).scalar()
    return found or 0


def waiting(connection: Connection) -> tuple[int, int]:
    """Return how many generations wait to be copied, and how many were given up."""
    counts = select(func.count(COPIES.c.next_at), func.count())
    due, total = connection.execute(counts).one()
    return due, total - due


def _remove_files(connection: Connection, files: Sequence[ArchivedFile]) -> None:
    for file in files:
        which = FILES.c.generation_id == file.generation_id, FILES.c.name == file.name
        if connection.execute(delete(FILES).where(*which)).rowcount:
            _count(connection, -file.bytes)


def _count(connection: Connection, change: int) -> None:
    connection.execute(update(ARCHIVE).values(bytes=ARCHIVE.c.bytes + change))


def _show(connection: Connection, generation_id: str, at: datetime) -> Generation:
    """Make a generation show what is kept of it."""
    before = generations.lock(connection, {generation_id})[generation_id]
    kept = files_of(connection, generation_id)
    shown = {name: _shown(kept[name]) for name in sorted(kept)}
    after = before._replace(archived=shown or None, rev=before.rev + 1, updated_at=at)
    change = Change(before, after)
    generations.save(connection, [change])
    events.add(connection, [change])
    return after


def _shown(file: ArchivedFile) -> Mapping[str, Any]:
    return {
        "bytes": file.bytes,
        "sha256": file.sha256,
        "content_type": file.content_type,
        "at": as_text(file.at),
    }
