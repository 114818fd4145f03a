"""Whether the service can be relied on: schema, a write, and the inbox."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table

from service.errors import StoreUnavailable
from service.storage import deliveries, migrating
from service.storage.engine import Database, batches
from service.storage.tables import ReadinessRow

READINESS: Table = ReadinessRow.__table__  # type: ignore[attr-defined]

LONGEST_LAG = timedelta(seconds=60)
"""A delivery that waits longer to be tried again is a sign that something is wrong. One that was
tried again in vain is not: by our being away from callbacks nothing would be better."""


class Readiness:
    """Asks the database; nothing is remembered."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def require(self) -> None:
        """Whether the database is migrated, takes writes, and all that could be folded is.

        Raises:
            StoreUnavailable: it is not, does not, or is not.
        """
        revision = await self._database.read(migrating.revision)
        if revision is None or revision < migrating.head():
            raise StoreUnavailable(
                f"The database is at revision {revision}, this version needs {migrating.head()}.",
                "Run `luma-tracker db upgrade`, or start the service anew.",
            )
        await self._database.write_all(_write, self._clock())
        oldest = await self._database.read(deliveries.oldest_untried)
        if oldest and self._clock() - oldest > LONGEST_LAG:
            raise StoreUnavailable(
                f"A delivery of {oldest:%Y-%m-%d %H:%M:%S} UTC could not be folded yet.",
                "GET /v1/deliveries?outcome=kept says why.",
            )


def _write(connection: Connection, times: Sequence[datetime]) -> list[None]:
    """One row, once for all who ask meanwhile: a server may answer questions and take no writes."""
    batches.insert(connection, READINESS, [{"id": 1, "asked_at": max(times)}], _instead)
    return [None for _ in times]


def _instead(statement: Any) -> Any:
    return statement.on_conflict_do_update(
        index_elements=["id"], set_={"asked_at": statement.excluded.asked_at}
    )
