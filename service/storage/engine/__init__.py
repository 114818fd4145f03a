"""The database: many readers, and writers that share commits.

    write(fn) ──────────────┐
    write_all(fn, item) ────┼─► queue ─► writer ─► BEGIN · fn · fn([item, item, …]) · COMMIT
    write_all(fn, item) ────┘                         └─► every caller gets its own answer

A commit costs a disk flush, so whatever is queued shares one. A function that raises undoes
only its own part; a commit that fails fails for all of them, and none is told otherwise.
`base` is what callers see, `sqlite` and `postgres` are the two ways to do it.
"""

from service.storage.engine.database import Database, Dialect, Row
from service.storage.engine.failures import Conflict, is_database_failure
from service.storage.engine.grouped_reads import GroupedReads
from service.storage.engine.sqlite import Sqlite

__all__ = [
    "Conflict",
    "Database",
    "Dialect",
    "GroupedReads",
    "Row",
    "is_database_failure",
    "open_database",
]


def open_database(url: str, direct_url: str = "") -> Database:
    """The database behind a URL. Use it as an async context manager.

    Args:
        url: `sqlite:///path` or `postgresql://…`.
        direct_url: the same PostgreSQL past its pooler, where `url` goes through one.
    """
    if url.startswith("sqlite"):
        return Sqlite(url)
    from service.storage.engine.postgres import Postgres  # its driver takes long to import

    return Postgres(url, direct_url or url)
