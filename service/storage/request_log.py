"""The requests to Luma of all processes that share a database, so that they share one budget.

Times are those of the database, in seconds since 1970, because the clocks of instances may differ.
"""

import time
from math import inf

from sqlalchemy import Connection, Table, bindparam, delete, func, or_, select, text

from service.domain.request_budget import Purpose, Rate, Request
from service.storage.engine import Database, batches
from service.storage.tables import RequestRow

REQUESTS: Table = RequestRow.__table__  # type: ignore[attr-defined]

_PURPOSES = {each.value: each for each in Purpose}
_BUDGET_LOCK_ID = 0x62756467
_LOCK_BUDGET = text(f"SELECT pg_advisory_xact_lock({_BUDGET_LOCK_ID}, hashtext(:upstream))")
_OF_UPSTREAM = REQUESTS.c.upstream == bindparam("upstream")
_FORGET = delete(REQUESTS).where(
    _OF_UPSTREAM,
    # Later than now: the clock was set back.
    or_(REQUESTS.c.at <= bindparam("begun"), REQUESTS.c.at > bindparam("now")),
)
_IN_WINDOW = _OF_UPSTREAM, REQUESTS.c.at > bindparam("begun"), REQUESTS.c.at <= bindparam("now")
_RECENT = select(REQUESTS.c.at, REQUESTS.c.purpose).where(*_IN_WINDOW).order_by(REQUESTS.c.at)
_COUNT = select(func.count()).select_from(REQUESTS).where(*_IN_WINDOW)
_POSTGRES_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")


class RequestLog:
    """The recent requests to one upstream."""

    def __init__(self, database: Database, upstream: str) -> None:
        self._database = database
        self._upstream = upstream
        self._forgotten_at = -inf  # when old requests were last deleted, by `time.monotonic`

    async def add(self, purpose: Purpose, rate: Rate) -> tuple[bool, list[Request] | None]:
        """Record a request, if the rate allows it.

        Returns:
            Whether it was recorded, and all requests of the last window, oldest first; None: there
            are so few that they need not be read.

        Raises:
            StoreUnavailable: the database did not answer; nothing was recorded.
        """
        now = time.monotonic()
        if forgets := now - self._forgotten_at >= rate.window:
            self._forgotten_at = now
        return await self._database.write(add, self._upstream, purpose, rate, forgets=forgets)

    async def recent(self, rate: Rate) -> list[Request]:
        """Return the requests of the last window, oldest first."""
        return await self._database.read(recent, self._upstream, rate.window)


def add(
    connection: Connection, upstream: str, purpose: Purpose, rate: Rate, *, forgets: bool = True
) -> tuple[bool, list[Request] | None]:
    """Implement `RequestLog.add`. Other calls for the upstream wait until the transaction ends.

    Args:
        connection: of the current transaction.
        upstream: the upstream.
        purpose: what the request is for.
        rate: the rate limit.
        forgets: whether to delete the requests that no longer count, which need not be each time.
    """
    if batches.is_postgres(connection):
        connection.execute(_LOCK_BUDGET, {"upstream": upstream})
    now = _now(connection)
    window = {"upstream": upstream, "begun": now - rate.window, "now": now}
    if forgets:
        connection.execute(_FORGET, window)
    row = {"upstream": upstream, "purpose": purpose.value, "at": now}
    if rate.has_room(connection.execute(_COUNT, window).scalar_one()):
        batches.insert(connection, REQUESTS, [row])
        return True, None
    made = _recent(connection, upstream, rate.window, now)
    if not rate.available(purpose, made):
        return False, made
    batches.insert(connection, REQUESTS, [row])
    return True, [*made, Request(0.0, purpose)]


def recent(connection: Connection, upstream: str, window: float) -> list[Request]:
    """Implement `RequestLog.recent`, for the last `window` seconds."""
    return _recent(connection, upstream, window, _now(connection))


def _recent(connection: Connection, upstream: str, window: float, now: float) -> list[Request]:
    made = connection.execute(_RECENT, {"upstream": upstream, "begun": now - window, "now": now})
    return [Request(now - at, _PURPOSES[purpose]) for at, purpose in made.all()]


def _now(connection: Connection) -> float:
    if batches.is_postgres(connection):
        return float(connection.execute(_POSTGRES_NOW).scalar_one())
    return time.time()  # all processes that share the file run on one machine
