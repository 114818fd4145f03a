"""A SQLite connection whose queries have a timeout and can be stopped."""

import sqlite3
import time
from typing import Any

Rows = list[tuple[Any, ...]]


class InterruptibleConnection:
    """Runs one query at a time, in any thread.

    Args:
        connection: a connection for its exclusive use, which any thread may use.
        steps: the number of SQLite virtual machine instructions between checks of the timeout.
    """

    def __init__(self, connection: sqlite3.Connection, steps: int) -> None:
        self._connection = connection
        self._deadline = 0.0
        connection.set_progress_handler(self._is_late, steps)

    def fetch(self, sql: str, values: tuple[object, ...], seconds: float) -> Rows:
        """Run a query and return its rows.

        Raises:
            sqlite3.OperationalError: the query timed out or was stopped, for which `was_stopped` is
                true; or the database failed.
        """
        self._deadline = time.monotonic() + seconds
        return self._connection.execute(sql, values).fetchall()

    def stop(self) -> None:
        """Stop the running query."""
        self._deadline = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def was_stopped(error: sqlite3.Error) -> bool:
    """Whether a query timed out or was stopped."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
