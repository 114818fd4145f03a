"""Classifies errors: failures of the database, as opposed to errors in the code that uses it."""

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StoreUnavailable
from service.logs import log

# SQLSTATE classes: connection, transaction state, transaction rollback (serialization, deadlock),
# resources, lock not available, operator intervention (including a restart), system, internal.
_TRANSIENT = ("08", "25", "40", "53", "55", "57", "58", "XX")
_PERMANENT = ("42",)  # a missing table or privilege


class Conflict(Exception):
    """Another instance changed a row first. The whole transaction is retried."""


def is_database_failure(error: BaseException) -> bool:
    """Whether the database failed, as opposed to an error in the statement."""
    return _is_of(error, _TRANSIENT + _PERMANENT)


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed."""
    return _is_of(error, _TRANSIENT)


def _is_of(error: BaseException, classes: tuple[str, ...]) -> bool:
    if state := getattr(error, "sqlstate", None):  # an error of asyncpg
        return str(state).startswith(classes)
    if not isinstance(error, DBAPIError):
        return isinstance(error, Conflict | PoolTimeout | OSError)  # TimeoutError is an OSError
    if isinstance(error.orig, sqlite3.Error):
        return isinstance(error.orig, sqlite3.OperationalError)
    lost = error.connection_invalidated or not getattr(error.orig, "sqlstate", None)
    return lost or str(getattr(error.orig, "sqlstate", "")).startswith(classes)


def unavailable(error: BaseException) -> StoreUnavailable:
    """Log a failure of the database, and return the error for callers."""
    if isinstance(error, StoreUnavailable):
        return error
    reason = str(getattr(error, "orig", error)) or type(error).__name__
    log.error("database_failed", reason=reason)
    return StoreUnavailable(f"The database failed: {reason}.")
