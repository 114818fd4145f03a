"""A connection of SQLite's whose questions end when their time is up, or when nobody waits."""

import sqlite3
import time
from typing import Any

Rows = list[tuple[Any, ...]]


class InterruptibleConnection:
    """Asks, in whatever thread, one question at a time.

    Args:
        connection: its own, which may be used by any thread.
        steps: of SQLite's machine between looks at the clock.
    """

    def __init__(self, connection: sqlite3.Connection, steps: int) -> None:
        self._connection = connection
        self._deadline = 0.0
        connection.set_progress_handler(self._is_late, steps)

    def ask(self, sql: str, values: tuple[object, ...], seconds: float) -> Rows:
        """The rows of the answer.

        Raises:
            sqlite3.OperationalError: it was late, stopped, or the database's own; `is_late` tells.
        """
        self._deadline = time.monotonic() + seconds
        return self._connection.execute(sql, values).fetchall()

    def stop(self) -> None:
        """End what is asked just now."""
        self._deadline = 0.0

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def was_stopped(error: sqlite3.Error) -> bool:
    """Whether a question ended because its time was up, or nobody waited."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
