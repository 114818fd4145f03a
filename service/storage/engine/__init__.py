"""The database engine: concurrent reads, and writes with group commit.

    write(fn) ──────────────┐
    write_all(fn, item) ────┼─► queue ─► writer ─► BEGIN · fn · fn([item, item, …]) · COMMIT
    write_all(fn, item) ────┘                         └─► each caller gets its own result

A commit costs a disk flush, so all queued writes share one. If a function raises, only its own
changes are rolled back. If the commit fails, every caller gets an error. On PostgreSQL, `write`
has its own transaction, and only calls of `write_all` share one.

This package knows no table of the service, except in statements that callers pass in.

database            the interface, `Database`, and the queue of writes
sqlite              `Database` on a SQLite file
sqlite_connections  connection settings and text formats of SQLite
interruptible       a SQLite connection whose queries can be stopped
postgres            `Database` on a PostgreSQL server
postgres_reader     reads through the PostgreSQL driver, without SQLAlchemy
notices             LISTEN/NOTIFY between instances on one PostgreSQL
search_slots        a limit on concurrent searches
grouped_reads       combines concurrent reads by key into one query
batches             many rows in one statement, on either database
failures            which errors mean that the database is unavailable
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
    """Create the database for a URL. Use it as an async context manager.

    Args:
        url: `sqlite:///path` or `postgresql://…`.
        direct_url: the URL of the same PostgreSQL without its pooler, if `url` uses one.
    """
    if url.startswith("sqlite"):
        return Sqlite(url)
    from service.storage.engine.postgres import Postgres  # the import of its driver is slow

    return Postgres(url, direct_url or url)
