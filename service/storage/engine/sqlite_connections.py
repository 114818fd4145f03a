"""Connection settings for SQLite, and the stored form of times."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine

from service.domain.text import fold

_MAX_CONNECTIONS = 7  # for readers, the writer, and a migration
_BUSY_MS = 4_000  # shorter than the 5 s that Luma waits for an answer to a callback
_NOTICEABLE_MS = 100  # longer than another process needs for a usual commit
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA foreign_keys=ON",
)


def make_engine(url: str) -> Engine:
    """Create an engine that sets the pragmas of this module on every connection."""
    engine = create_engine(
        url, pool_size=_MAX_CONNECTIONS, max_overflow=0, pool_timeout=5, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # no implicit BEGIN of the driver; see `_begin`
        for pragma in _PRAGMAS:
            _execute_with_retries(connection, pragma)
        # The built-in `lower` of SQLite handles ASCII only, but searches can be in any language.
        connection.create_function("luma_fold", 1, _fold, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def having_waited(connection: Connection, seconds: float) -> Iterator[None]:
    """Inside the context, wait for a lock only for what is left of the time for a write.

    Args:
        connection: not in a transaction.
        seconds: for which the write has waited already, behind others.
    """
    waited = int(seconds * 1000)
    if waited < _NOTICEABLE_MS:
        yield
        return
    _limit_waiting(connection, max(_BUSY_MS - waited, _NOTICEABLE_MS))
    try:
        yield
    finally:
        _limit_waiting(connection, _BUSY_MS)


def _limit_waiting(connection: Connection, milliseconds: int) -> None:
    driver: Any = connection.connection.driver_connection  # SQLAlchemy would begin a transaction
    driver.execute(f"PRAGMA busy_timeout={milliseconds}")


def _execute_with_retries(connection: sqlite3.Connection, pragma: str) -> None:
    """Wait for locks: `busy_timeout` does not apply to a change of the journal mode."""
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute(pragma)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _fold(value: str | None) -> str | None:
    return value and fold(value)


def stored_time(at: datetime) -> str:
    """Convert a time to the form in which it is stored."""
    return at.astimezone(UTC).isoformat(" ", "microseconds")[:26]
