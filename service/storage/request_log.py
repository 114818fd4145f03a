"""The requests to Luma of all processes on one database, so that together they keep one budget.

Times are the database's own, in seconds since 1970: instances' clocks may differ.
"""

from functools import partial

from sqlalchemy import Connection, Table, delete, insert, or_, select, text

from service.storage.engine import Database, batches
from service.storage.tables import RequestRow

REQUESTS: Table = RequestRow.__table__  # type: ignore[attr-defined]

_BUDGET_LOCK = 0x62756467
_ONE_BY_ONE = text(f"SELECT pg_advisory_xact_lock({_BUDGET_LOCK}, hashtext(:upstream))")
_POSTGRES_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_SQLITE_NOW = text("SELECT (julianday('now') - 2440587.5) * 86400.0")


class RequestLog:
    """What one upstream has been asked."""

    def __init__(self, database: Database, upstream: str) -> None:
        self._database = database
        self._upstream = upstream

    async def add(self, share: int, period: float) -> tuple[bool, list[float]]:
        """Note a request, if fewer than `share` were made in the last `period` seconds.

        Returns:
            Whether it was noted, and how many seconds ago each in the period was, oldest first.

        Raises:
            StoreUnavailable: nothing was noted.
        """
        return await self._database.write(add, self._upstream, share, period)

    async def ages(self, period: float) -> list[float]:
        """How many seconds ago each request of the last `period` seconds was, oldest first."""
        return await self._database.read(partial(ages, upstream=self._upstream, period=period))


def add(
    connection: Connection, upstream: str, share: int, period: float
) -> tuple[bool, list[float]]:
    """As `RequestLog.add`, in a transaction; others wait for it to end."""
    if batches.is_postgres(connection):
        connection.execute(_ONE_BY_ONE, {"upstream": upstream})
    now = _now(connection)
    over = or_(REQUESTS.c.at <= now - period, REQUESTS.c.at > now)  # or the clock went back
    connection.execute(delete(REQUESTS).where(REQUESTS.c.upstream == upstream, over))
    known = ages(connection, upstream, period)
    if len(known) >= share:
        return False, known
    connection.execute(insert(REQUESTS).values(upstream=upstream, at=now))
    return True, [*known, 0.0]


def ages(connection: Connection, upstream: str, period: float) -> list[float]:
    """As `RequestLog.ages`."""
    now = _now(connection)
    recent = REQUESTS.c.upstream == upstream, REQUESTS.c.at > now - period
    made = connection.execute(select(REQUESTS.c.at).where(*recent).order_by(REQUESTS.c.at))
    return [now - at for at in made.scalars()]


def _now(connection: Connection) -> float:
    clock = _POSTGRES_NOW if batches.is_postgres(connection) else _SQLITE_NOW
    return float(connection.execute(clock).scalar_one())
