"""Deletes old rows, a bounded number at a time."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, delete, select


def delete_old(
    connection: Connection, key: Column[Any], at: Column[Any], before: datetime, limit: int
) -> int:
    """Delete up to `limit` rows from before `before`, and return their number.

    Rows that another instance is deleting are skipped.

    Args:
        connection: in a transaction.
        key: the primary key of the table.
        at: the time of a row.
        before: rows of this time and later stay.
        limit: the maximum number of rows.
    """
    old = select(key).where(at < before).limit(limit).with_for_update(skip_locked=True)
    return connection.execute(delete(key.table).where(key.in_(old))).rowcount
