"""How a connection to a file is set up, and what stands in the file otherwise than in Python."""

import sqlite3
import time
from datetime import UTC, datetime

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine

_CONNECTIONS = 7  # of readers, of the writer, and of who migrates
_BUSY_MS = 4_000  # shorter than the 5 s that Luma waits for our answer
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={_BUSY_MS}",
    "PRAGMA foreign_keys=ON",
)


def make_engine(url: str) -> Engine:
    """An engine whose every connection is set up as the module's head says."""
    engine = create_engine(
        url, pool_size=_CONNECTIONS, max_overflow=0, pool_timeout=5, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        for pragma in _PRAGMAS:
            _execute_patiently(connection, pragma)
        # SQLite's own knows ASCII only, and people search in their own languages.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _execute_patiently(connection: sqlite3.Connection, pragma: str) -> None:
    """SQLite does not wait for a lock while it changes the journal's mode, so we do."""
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


def _lower(value: str | None) -> str | None:
    return value and value.lower()


def instant(at: datetime) -> str:
    """A time as it stands in the file."""
    return at.astimezone(UTC).isoformat(" ", "microseconds")[:26]
