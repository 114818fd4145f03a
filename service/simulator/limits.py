"""The two limits of the Agents API, with its wording and headers."""

from collections import deque
from datetime import datetime, timedelta

from fastapi import HTTPException, status

from service.simulator.clock import Clock
from service.simulator.world import World

MINUTE = timedelta(minutes=1)


class RequestLimit:
    """At most `per_minute` requests in any minute; None: no limit. A FastAPI dependency."""

    def __init__(self, per_minute: int | None, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._accepted: deque[datetime] = deque()

    async def __call__(self) -> None:
        """Count the request, or refuse it; refused requests are not counted.

        Raises:
            HTTPException: 429, with the headers `Retry-After` and `X-RateLimit-…`.
        """
        if self._per_minute is None:
            return
        now = self._clock.now()
        while self._accepted and self._accepted[0] <= now - MINUTE:
            self._accepted.popleft()
        if len(self._accepted) >= self._per_minute:
            raise self._refusal(self._per_minute, now)
        self._accepted.append(now)

    def _refusal(self, per_minute: int, now: datetime) -> HTTPException:
        oldest = self._accepted[0] if self._accepted else now
        headers = {
            "Retry-After": "12",
            "X-RateLimit-Limit": str(per_minute),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int((oldest + MINUTE).timestamp())),
        }
        return HTTPException(status.HTTP_429_TOO_MANY_REQUESTS, "Rate limit exceeded", headers)


class ConcurrencyLimit:
    """At most `concurrent` open generations when one is created; None: no limit."""

    def __init__(self, concurrent: int | None, world: World) -> None:
        self._concurrent = concurrent
        self._world = world

    def check(self) -> None:
        """Refuse to create another generation, if the limit is reached.

        Raises:
            HTTPException: 429, with the header `Retry-After`.
        """
        if self._concurrent is None or self._world.count_open("agents") < self._concurrent:
            return
        headers = {"Retry-After": "60"}
        raise HTTPException(status.HTTP_429_TOO_MANY_REQUESTS, "Too many concurrent jobs", headers)
