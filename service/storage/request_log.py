"""The requests to Luma of all processes that share a database, so that they share one budget.

Times are those of the database, in seconds since 1970, because the clocks of instances may differ.
"""

from sqlalchemy import Connection, Table, delete, insert, or_, select, text

from service.domain.request_budget import Purpose, Rate, Request
from service.storage.engine import Database, batches
from service.storage.tables import RequestRow

REQUESTS: Table = RequestRow.__table__  # type: ignore[attr-defined]

_BUDGET_LOCK_ID = 0x62756467
_LOCK_BUDGET = text(f"SELECT pg_advisory_xact_lock({_BUDGET_LOCK_ID}, hashtext(:upstream))")
_POSTGRES_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_SQLITE_NOW = text("SELECT (julianday('now') - 2440587.5) * 86400.0")


class RequestLog:
    """The recent requests to one upstream."""

    def __init__(self, database: Database, upstream: str) -> None:
        self._database = database
        self._upstream = upstream

    async def add(self, purpose: Purpose, rate: Rate) -> tuple[bool, list[Request]]:
        """Record a request, if the rate allows it.

        Returns:
            Whether it was recorded, and all requests of the last window, oldest first.

        Raises:
            StoreUnavailable: the database did not answer; nothing was recorded.
        """
        return await self._database.write(add, self._upstream, purpose, rate)

    async def recent(self, rate: Rate) -> list[Request]:
        """Return the requests of the last window, oldest first."""
        return await self._database.read(recent, self._upstream, rate.window)


def add(
    connection: Connection, upstream: str, purpose: Purpose, rate: Rate
) -> tuple[bool, list[Request]]:
    """Implement `RequestLog.add`. Other calls for the upstream wait until the transaction ends."""
    if batches.is_postgres(connection):
        connection.execute(_LOCK_BUDGET, {"upstream": upstream})
    now = _now(connection)
    outside = or_(
        REQUESTS.c.at <= now - rate.window, REQUESTS.c.at > now
    )  # later than now: the clock was set back
    connection.execute(delete(REQUESTS).where(REQUESTS.c.upstream == upstream, outside))
    made = recent(connection, upstream, rate.window)
    if not rate.available(purpose, made):
        return False, made
    connection.execute(insert(REQUESTS).values(upstream=upstream, purpose=purpose.value, at=now))
    return True, [*made, Request(0.0, purpose)]


def recent(connection: Connection, upstream: str, window: float) -> list[Request]:
    """Implement `RequestLog.recent`, for the last `window` seconds."""
    now = _now(connection)
    in_window = REQUESTS.c.upstream == upstream, REQUESTS.c.at > now - window
    columns = REQUESTS.c.at, REQUESTS.c.purpose
    made = connection.execute(select(*columns).where(*in_window).order_by(REQUESTS.c.at))
    return [Request(now - at, Purpose(purpose)) for at, purpose in made]


def _now(connection: Connection) -> float:
    clock = _POSTGRES_NOW if batches.is_postgres(connection) else _SQLITE_NOW
    return float(connection.execute(clock).scalar_one())
