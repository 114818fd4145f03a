"""The readiness checks: schema revision, a test write, and the age of unfolded deliveries."""

from collections.abc import Callable
from datetime import datetime, timedelta

from service.errors import StoreUnavailable
from service.storage import deliveries, migrating, readiness
from service.storage.engine import Database

LONGEST_LAG = timedelta(seconds=60)
"""The longest time that a delivery may wait for its first retry. A delivery whose retries failed
does not count: taking the instance out of service would not help it."""


class Readiness:
    """Runs the checks; keeps no state."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def require(self) -> None:
        """Check that the database is migrated and writable, and that no delivery waits too long.

        Raises:
            StoreUnavailable: a check failed.
        """
        revision = await self._database.read(migrating.revision)
        if revision is None or revision < migrating.head():
            raise StoreUnavailable(
                f"The database is at revision {revision}; this version needs {migrating.head()}.",
                "Run `luma-tracker db upgrade`, or restart the service.",
            )
        await self._database.write_all(readiness.write, self._clock())
        oldest = await self._database.read(deliveries.oldest_untried)
        if oldest and self._clock() - oldest > LONGEST_LAG:
            raise StoreUnavailable(
                f"A delivery received at {oldest:%Y-%m-%d %H:%M:%S} UTC could not be folded yet.",
                "See its `error` in GET /v1/deliveries?outcome=kept.",
            )
