"""The archive in SQL: what is to be copied, by whom, and what is kept.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, or_, select, union_all, update

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


_KEPT = select(*(FILES.c[name] for name in ArchivedFile.__slots__)).where(
    FILES.c.evicted_at.is_(None)
)


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

    So are those of completed rows that have got more assets. Costs nothing for other changes.
    """
    new = [
        change.after.id
        for change in changes
        if is_wanted(change.after) and not (change.before and _has_all(change.before, change.after))
    ]
    if new and connection.execute(select(ARCHIVE.c.id)).first():
        add_ids(connection, new, at)


def _has_all(before: Generation, after: Generation) -> bool:
    """Whether a row was wanted before, with as many assets."""
    counted = len(before.outputs) >= len(after.outputs)
    return is_wanted(before) and counted and before.assets.keys() >= after.assets.keys()


def add_ids(connection: Connection, ids: Collection[str], at: datetime) -> int:
    """Write down that the assets of these generations are to be copied, if that is not yet done."""
    rows = [{"generation_id": id_, "next_at": at, "tries": 0, "error": None} for id_ in sorted(ids)]
    return batches.insert(connection, COPIES, rows, batches.skip)


def add_missing(
    connection: Connection, at: datetime, limit: int, ids: Collection[str] | None = None
) -> int:
    """Write down older generations, and those whose copies have failed; returns how many.

    Args:
        connection: the transaction.
        at: the time.
        limit: the most older ones.
        ids: only these; None: all.
    """
    failed = update(COPIES).where(or_(COPIES.c.next_at.is_(None), COPIES.c.error.is_not(None)))
    wanted = _never_copied().where(GENERATIONS.c.id.not_in(select(COPIES.c.generation_id)))
    if ids is not None:
        failed = failed.where(COPIES.c.generation_id.in_(ids))
        wanted = wanted.where(GENERATIONS.c.id.in_(ids))
    again = connection.execute(failed.values(next_at=at, tries=0, error=None)).rowcount
    found = connection.execute(wanted.limit(limit)).scalars().all()
    return again + add_ids(connection, found, at)


def missing(
    connection: Connection, limit: int, ids: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return the generations of which not all is kept, newest first, with the last error.

    What the limit has deleted is not missing.

    Args:
        connection: the transaction.
        limit: the most generations.
        ids: only these; None: all.
    """
    waiting = _wanted().where(GENERATIONS.c.id.in_(select(COPIES.c.generation_id)))
    either = GENERATIONS.c.id.in_(union_all(waiting, _never_copied()))
    columns = GENERATIONS.c.id, COPIES.c.tries, COPIES.c.error, COPIES.c.next_at
    joined = GENERATIONS.outerjoin(COPIES, COPIES.c.generation_id == GENERATIONS.c.id)
    found = select(*columns).select_from(joined).where(either)
    if ids is not None:
        found = found.where(GENERATIONS.c.id.in_(ids))
    ordered = found.order_by(GENERATIONS.c.ordered_at.desc(), GENERATIONS.c.id.desc())
    return [dict(row) for row in connection.execute(ordered.limit(limit)).mappings()]


def _wanted() -> Any:
    """Return the query for the ids of `is_wanted`, but for those without assets."""
    return select(GENERATIONS.c.id).where(
        GENERATIONS.c.verified,
        GENERATIONS.c.state == "completed",
        GENERATIONS.c.gone_at.is_(None),
    )


def _never_copied() -> Any:
    """Return the query for the wanted ids of which nothing is kept, nor ever was."""
    once = select(FILES.c.generation_id).where(FILES.c.generation_id == GENERATIONS.c.id)
    return _wanted().where(GENERATIONS.c.archived.is_(None), ~once.exists())


def claim(connection: Connection, now: datetime, until: datetime, limit: int) -> list[Copy]:
    """Claim the copies that are due, the longest due first.

    Claiming moves `next_at` to `until` in the same transaction, so that no other instance makes
    the same copy before. A claimed copy has no error.
    """
    due = select(COPIES).where(COPIES.c.next_at <= now).order_by(COPIES.c.next_at).limit(limit)
    rows = connection.execute(due.with_for_update(skip_locked=True)).mappings().all()
    ids = [row["generation_id"] for row in rows]
    if not ids:
        return []
    held = COPIES.c.generation_id.in_(ids)
    connection.execute(update(COPIES).where(held).values(next_at=until, error=None))
    found = generations.find_all(connection, ids)
    return [Copy(found[row["generation_id"]], row["tries"], until) for row in rows]


def next_due(connection: Connection) -> datetime | None:
    """Return when the next copy is due; None if none waits."""
    found: datetime | None = connection.execute(select(func.min(COPIES.c.next_at))).scalar()
    return found


def record(connection: Connection, file: ArchivedFile) -> Generation:
    """Record that an asset is kept; its generation has a new `rev`."""
    known = files_of(connection, file.generation_id).get(file.name)
    if known:
        _count(connection, -known.bytes)
    connection.execute(delete(FILES).where(*_same(file)))
    values = {name: getattr(file, name) for name in ArchivedFile.__slots__}
    connection.execute(insert(FILES).values(values))
    _count(connection, file.bytes)
    return _show(connection, file.generation_id, file.at)


def finish(connection: Connection, copy: Copy) -> None:
    """End a claim: all is kept, or the generation is no longer wanted."""
    connection.execute(delete(COPIES).where(*_held(copy)))


def postpone(
    connection: Connection, copy: Copy, next_at: datetime | None, error: str | None
) -> None:
    """End a claim: the copy is tried again at `next_at`; None: it is given up.

    `copy.tries` is recorded.
    """
    values = {"next_at": next_at, "tries": copy.tries, "error": error}
    connection.execute(update(COPIES).where(*_held(copy)).values(values))


def _held(copy: Copy) -> tuple[Any, ...]:
    """Return the condition that the claim has not run out and been taken by somebody else."""
    return COPIES.c.generation_id == copy.generation.id, COPIES.c.next_at == copy.until


def files_of(connection: Connection, generation_id: str) -> dict[str, ArchivedFile]:
    """Return the kept assets of a generation, by name."""
    found = _KEPT.where(FILES.c.generation_id == generation_id)
    return {row["name"]: ArchivedFile(**row) for row in connection.execute(found).mappings()}


def names_of(connection: Connection, generation_id: str) -> set[str]:
    """Return the names of the assets of a generation that are kept, or were."""
    found = select(FILES.c.name).where(FILES.c.generation_id == generation_id)
    return {*connection.execute(found).scalars()}


def oldest(connection: Connection, before: datetime, limit: int) -> list[ArchivedFile]:
    """Return the kept assets that were copied before that time, oldest first."""
    old = _KEPT.where(FILES.c.at < before).order_by(FILES.c.at).limit(limit)
    return [ArchivedFile(**row) for row in connection.execute(old).mappings()]


def evict(connection: Connection, file: ArchivedFile, at: datetime) -> None:
    """Record that an asset is no longer kept, and is not to be copied again."""
    kept = FILES.c.evicted_at.is_(None)
    gone = update(FILES).where(*_same(file), kept).values(evicted_at=at)
    if connection.execute(gone).rowcount:
        _count(connection, -file.bytes)
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


def _same(file: ArchivedFile) -> tuple[Any, ...]:
    return FILES.c.generation_id == file.generation_id, FILES.c.name == file.name


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
