"""The index of words: it narrows a search to the generations that may contain the words.

    events ──► texts: one entry for each text that a generation has had ──► their trigrams
                                                            (SQLite: FTS5, PostgreSQL: pg_trgm)

Entries are added behind the service, in the order of the events, so that callbacks pay nothing for
them. A search looks also at the generations of later events, and checks every row that it finds;
so an entry for an old text does no harm, and none is ever changed.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from service.domain.query import Query, Word
from service.domain.query.matching import SEARCHED
from service.domain.text import fold
from service.storage import events
from service.storage.engine import Database, Dialect, batches
from service.storage.generations import GENERATIONS
from service.storage.tables import TextRow, WordIndexRow

TEXTS: Table = TextRow.__table__  # type: ignore[attr-defined]
INDEX: Table = WordIndexRow.__table__  # type: ignore[attr-defined]

MOST = 1000
"""Generations that a search is narrowed to. Of words in more, the newest are found quickly by
looking at each generation."""
_SHORTEST = 3  # characters of a word; shorter ones have no trigram
_MOST_TRIGRAMS = 12  # of a word; these suffice to find few
_WILDCARDS = re.compile(r"[\\%_]")
_POSITION = "SELECT seq FROM word_index WHERE is_complete"
_MAKE_FTS = """CREATE VIRTUAL TABLE IF NOT EXISTS trigrams USING fts5(
    text, content='', detail='none', columnsize=0, tokenize='trigram case_sensitive 1')"""
_MAKE_GIN = """CREATE INDEX IF NOT EXISTS ix_texts_trigrams
    ON texts USING gin (text gin_trgm_ops)"""


class Narrowed(NamedTuple):
    """Where to look for words: in these generations, and in those of events after `seq`."""

    ids: tuple[str, ...]
    seq: int


async def narrow(database: Database, query: Query) -> Narrowed | None:
    """Return where the words of a query may be; None: anywhere.

    Raises:
        StoreUnavailable: the database did not answer.
    """
    words = _words(query)
    # The position comes first: what is indexed meanwhile may be found twice, but is not missed.
    position = await database.fetch(_POSITION) if words else ()
    if not position:
        return None
    find = _find_on_sqlite if database.dialect is Dialect.SQLITE else _find_on_postgres
    found = await database.search(*find(words))
    return (
        Narrowed(tuple({row[0] for row in found}), position[0][0]) if len(found) <= MOST else None
    )


def _words(query: Query) -> list[str]:
    """Return the words of a query that the index can find, folded."""
    words = (fold(t.text) for t in query.terms if isinstance(t, Word) and not t.negated)
    return [word for word in words if len(word) >= _SHORTEST]


def _find_on_sqlite(words: Sequence[str]) -> tuple[str, str]:
    parts = {part for word in words for part in _trigrams(word)}
    match = " AND ".join('"{}"'.format(part.replace('"', '""')) for part in sorted(parts))
    sql = f"""SELECT generation_id FROM texts WHERE number IN
        (SELECT rowid FROM trigrams WHERE trigrams MATCH ? LIMIT {MOST + 1})"""  # noqa: S608
    return sql, match


def _trigrams(word: str) -> Iterator[str]:
    places = range(len(word) - _SHORTEST + 1)
    for at in places[:: len(places) // _MOST_TRIGRAMS + 1]:
        yield word[at : at + _SHORTEST]


def _find_on_postgres(words: Sequence[str]) -> tuple[str, ...]:
    patterns = [f"%{_WILDCARDS.sub(lambda found: chr(92) + found[0], word)}%" for word in words]
    where = " AND ".join(f"text LIKE ${n}" for n, _ in enumerate(patterns, 1))
    sql = f"SELECT generation_id FROM texts WHERE {where} LIMIT {MOST + 1}"  # noqa: S608
    return sql, *patterns


def is_complete(connection: Connection) -> bool | None:
    """Return whether searches use the index; None: there is none."""
    complete: bool | None = connection.execute(select(INDEX.c.is_complete)).scalar()
    return complete


def advance(connection: Connection, limit: int) -> int:
    """Index the next generations, and return how many; fewer than `limit`: it is over.

    That is when all are indexed, the database cannot have the index, or another instance is at it.
    """
    row = connection.execute(select(INDEX).with_for_update(skip_locked=True)).mappings().first()
    if row is None:
        return limit if _prepare(connection) else 0
    if not row["is_complete"]:
        return _fill(connection, row["position"], limit)
    changed = events.changes_after(connection, row["seq"], limit)
    if changed:
        _add(connection, {generation_id for _, generation_id in changed})
        connection.execute(update(INDEX).values(seq=changed[-1][0]))
    return len(changed)


def _prepare(connection: Connection) -> bool:
    """Create the index, empty; returns whether this database can have it."""
    if connection.execute(select(func.count()).select_from(INDEX)).scalar_one():
        return False  # another instance is at it
    statements = (
        ("CREATE EXTENSION IF NOT EXISTS pg_trgm", _MAKE_GIN)
        if batches.is_postgres(connection)
        else (_MAKE_FTS,)
    )
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.exec_driver_sql(statement)
            seq = events.newest_seq(connection)
            row = {"id": 1, "seq": seq, "position": "", "is_complete": False}
            connection.execute(insert(INDEX).values(row))
    except DBAPIError:
        return False  # no FTS5, or no right to create extensions
    return True


def _fill(connection: Connection, position: str, limit: int) -> int:
    """Index generations that were there before the index, in the order of their ids."""
    next_ids = select(GENERATIONS.c.id).where(GENERATIONS.c.id > position)
    ids = connection.execute(next_ids.order_by(GENERATIONS.c.id).limit(limit)).scalars().all()
    _add(connection, ids)
    done = {"is_complete": True} if len(ids) < limit else {}
    connection.execute(update(INDEX).values(position=ids[-1] if ids else position, **done))
    return limit


def _add(connection: Connection, ids: Collection[str]) -> None:
    """Add entries for the texts of generations that have none yet; they are stored folded."""
    rows = batches.find(connection, GENERATIONS.c.id, ids, ("id", *SEARCHED))
    texts = {(row["id"], _digest(text)): text for row in rows if (text := _text(row))}
    known = batches.find(connection, TEXTS.c.generation_id, ids, ("generation_id", "digest"))
    for row in known:
        texts.pop((row["generation_id"], row["digest"]), None)
    if not texts:
        return
    add = _add_on_postgres if batches.is_postgres(connection) else _add_on_sqlite
    add(connection, [(*key, fold(text)) for key, text in texts.items()])


def _text(row: dict[str, Any]) -> str:
    return "\n".join(row[name] for name in SEARCHED if row[name])


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _add_on_postgres(connection: Connection, texts: Sequence[tuple[str, str, str]]) -> None:
    names = "generation_id", "digest", "text"
    batches.insert(connection, TEXTS, [dict(zip(names, each, strict=True)) for each in texts])


def _add_on_sqlite(connection: Connection, texts: Sequence[tuple[str, str, str]]) -> None:
    """Add entries; only the trigrams of the texts are stored, not the texts."""
    first = (connection.execute(select(func.max(TEXTS.c.number))).scalar() or 0) + 1
    numbered = [(n, *each) for n, each in enumerate(texts, first)]
    connection.exec_driver_sql(
        "INSERT INTO texts (number, generation_id, digest) VALUES (?, ?, ?)",
        [row[:3] for row in numbered],
    )
    connection.exec_driver_sql(
        "INSERT INTO trigrams (rowid, text) VALUES (?, ?)",
        [(number, text) for number, _, _, text in numbered],
    )
