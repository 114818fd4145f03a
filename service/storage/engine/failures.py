"""Which failures are the database's own: nothing was wrong with what it was asked."""

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StoreUnavailable
from service.logs import log

# PostgreSQL's classes of errors: connection, transaction state, conflict with another transaction,
# resources, lock not available, operator's intervention (a restart among them), system, internal.
_PASSING = ("08", "25", "40", "53", "55", "57", "58", "XX")
_LASTING = ("42",)  # a table or a right that is not there


class Conflict(Exception):
    """Another instance was faster; the whole transaction begins again."""


def is_database_failure(error: BaseException) -> bool:
    """Whether the database could not, rather than would not."""
    return _is_of(error, _PASSING + _LASTING)


def is_transient(error: BaseException) -> bool:
    """Whether another try, in a moment, may succeed."""
    return _is_of(error, _PASSING)


def _is_of(error: BaseException, classes: tuple[str, ...]) -> bool:
    if state := getattr(error, "sqlstate", None):  # asyncpg's own
        return str(state).startswith(classes)
    if not isinstance(error, DBAPIError):
        return isinstance(error, Conflict | PoolTimeout | OSError)  # TimeoutError is an OSError
    if isinstance(error.orig, sqlite3.Error):
        return isinstance(error.orig, sqlite3.OperationalError)
    lost = error.connection_invalidated or not getattr(error.orig, "sqlstate", None)
    return lost or str(getattr(error.orig, "sqlstate", "")).startswith(classes)


def unavailable(error: BaseException) -> StoreUnavailable:
    """What callers are told, and the log."""
    if isinstance(error, StoreUnavailable):
        return error
    reason = str(getattr(error, "orig", error)) or type(error).__name__
    log.error("database_failed", reason=reason)
    return StoreUnavailable(f"The database did not take it: {reason}.")
