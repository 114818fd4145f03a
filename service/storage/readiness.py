"""A test write: a server may answer reads and refuse writes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table

from service.storage.engine import batches
from service.storage.tables import ReadinessRow

READINESS: Table = ReadinessRow.__table__  # type: ignore[attr-defined]


def write(connection: Connection, times: Sequence[datetime]) -> list[None]:
    """Write one row for all concurrent checks.

    Args:
        connection: in a transaction.
        times: when each check asked.
    """
    batches.insert(connection, READINESS, [{"id": 1, "asked_at": max(times)}], _on_conflict_update)
    return [None for _ in times]


def _on_conflict_update(statement: Any) -> Any:
    return statement.on_conflict_do_update(
        index_elements=["id"], set_={"asked_at": statement.excluded.asked_at}
    )
