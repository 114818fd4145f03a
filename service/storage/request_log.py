"""The requests to Luma of all processes on one database, so that together they keep one rate.

Times are the database's own, in seconds since 1970: instances' clocks may differ.
"""

from sqlalchemy import Connection, Table, delete, insert, or_, select, text

from service.domain.request_budget import Purpose, Rate, Request
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

    async def add(self, purpose: Purpose, rate: Rate) -> tuple[bool, list[Request]]:
        """Record a request, if the rate allows it.

        Returns:
            Whether it was recorded, and the requests of the last window, oldest first.

        Raises:
            StoreUnavailable: nothing was recorded.
        """
        return await self._database.write(add, self._upstream, purpose, rate)

    async def recent(self, rate: Rate) -> list[Request]:
        """The requests of the last window, oldest first."""
        return await self._database.read(recent, self._upstream, rate.window)


def add(
    connection: Connection, upstream: str, purpose: Purpose, rate: Rate
) -> tuple[bool, list[Request]]:
    """As `RequestLog.add`, in a transaction; others wait for it to end."""
    if batches.is_postgres(connection):
        connection.execute(_ONE_BY_ONE, {"upstream": upstream})
    now = _now(connection)
    over = or_(REQUESTS.c.at <= now - rate.window, REQUESTS.c.at > now)  # or the clock went back
    connection.execute(delete(REQUESTS).where(REQUESTS.c.upstream == upstream, over))
    made = recent(connection, upstream, rate.window)
    if not rate.available(purpose, made):
        return False, made
    connection.execute(insert(REQUESTS).values(upstream=upstream, purpose=purpose.value, at=now))
    return True, [*made, Request(0.0, purpose)]


def recent(connection: Connection, upstream: str, window: float) -> list[Request]:
    """As `RequestLog.recent`, of the last `window` seconds."""
    now = _now(connection)
    of_window = REQUESTS.c.upstream == upstream, REQUESTS.c.at > now - window
    columns = REQUESTS.c.at, REQUESTS.c.purpose
    made = connection.execute(select(*columns).where(*of_window).order_by(REQUESTS.c.at))
    return [Request(now - at, Purpose(purpose)) for at, purpose in made]


def _now(connection: Connection) -> float:
    clock = _POSTGRES_NOW if batches.is_postgres(connection) else _SQLITE_NOW
    return float(connection.execute(clock).scalar_one())
