"""Keeps the requests to one upstream within its rate, in this process or across processes."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from service.domain.request_budget import Purpose, Rate, Request

_RETRY_DELAY = 0.01  # seconds; used when another process took the last request of the budget


class RequestLog(Protocol):
    """Where several processes record their requests, so that they share one rate."""

    async def add(self, purpose: Purpose, rate: Rate) -> tuple[bool, Sequence[Request] | None]:
        """Record a request if the rate allows it.

        Returns:
            Whether it was recorded, and all requests of the last window; None: there are few.
        """
        ...

    async def recent(self, rate: Rate) -> Sequence[Request]:
        """Return the requests of the last window, oldest first."""
        ...


class RateLimiter:
    """The rate limiter of one upstream.

    Args:
        rate: the highest rate allowed.
        clock: a monotonic clock, in seconds.
        log: the requests of all processes that share the rate; without it, the rate applies to
            this process only.
    """

    def __init__(
        self,
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
        log: RequestLog | None = None,
    ) -> None:
        self.rate = rate
        """May be replaced; the requests made so far count against the new one."""
        self._clock = clock
        self._log = log
        self._requests: list[tuple[float, Purpose]] = []

    async def refresh(self) -> None:
        """Read which requests other processes have made."""
        if self._log:
            self._replace(await self._log.recent(self.rate))

    @property
    def left(self) -> int:
        """How many requests may be made now, for any purpose."""
        return self.rate.left(self._recent())

    def available(self, purpose: Purpose) -> int:
        """Return how many requests for this purpose may be made now.

        Requests that other processes made since the last `refresh` are not counted.
        """
        return self.rate.available(purpose, self._recent())

    def seconds_until_available(self, purpose: Purpose) -> float:
        """Return the seconds until a request for this purpose may be made; 0 means now."""
        if self.rate.has_room(self._count()):
            return 0.0
        return self.rate.seconds_until_available(purpose, self._recent())

    async def acquire(self, purpose: Purpose, timeout: float) -> float:
        """Wait up to `timeout` seconds for permission to make one request.

        Returns:
            0 if the request may be made, else the seconds after which to try again.
        """
        deadline = self._clock() + timeout
        while self.seconds_until_available(purpose) > 0 or not await self._record(purpose):
            delay = self.seconds_until_available(purpose) or _RETRY_DELAY
            if self._clock() + delay > deadline:
                return delay
            await asyncio.sleep(delay)
        return 0.0

    async def _record(self, purpose: Purpose) -> bool:
        """Record a request; returns False if other processes have used up the budget."""
        recorded, recent = await self._log.add(purpose, self.rate) if self._log else (True, None)
        if recent is None:
            self._requests.append((self._clock(), purpose))
        else:
            self._replace(recent)
        return recorded

    def _replace(self, recent: Sequence[Request]) -> None:
        now = self._clock()
        self._requests = [(now - request.age, request.purpose) for request in recent]

    def _recent(self) -> list[Request]:
        self._count()
        now = self._clock()
        return [Request(now - at, purpose) for at, purpose in self._requests]

    def _count(self) -> int:
        """Forget the requests before the last window, and return the number of the others."""
        begun = self._clock() - self.rate.window
        self._requests = [each for each in self._requests if each[0] > begun]
        return len(self._requests)
