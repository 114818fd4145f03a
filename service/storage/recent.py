"""The newest generations of an SQLite file, for shell completion.

It must answer within a fraction of a second and change nothing, so it needs the standard library
only: no engine, no migration. Whatever fails is an empty answer.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

_PATIENCE = 0.2  # seconds for a lock
_END = "\U0010ffff"  # sorts after every id
_BY_ID = "id >= ?1 AND id < ?2 ORDER BY id"
_BY_TIME = "?1 < ?2 ORDER BY ordered_at DESC, id DESC"

Recent = tuple[str, str, str | None]
"""Id, state and prompt."""


def recent(path: Path, prefix: str, limit: int) -> list[Recent]:
    """Return the newest generations; with a prefix, those whose ids begin with it."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    which = _BY_ID if prefix else _BY_TIME
    sql = f"SELECT id, state, prompt FROM generations WHERE {which} LIMIT ?3"  # noqa: S608
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as connection:
            return connection.execute(sql, (prefix, prefix + _END, limit)).fetchall()
    except sqlite3.Error:
        return []
