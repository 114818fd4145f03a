"""Keeps the requests to one upstream within its rate, alone or together with other processes."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from service.domain.request_budget import Purpose, Rate, Request

_A_MOMENT = 0.01  # seconds; another process was faster


class RequestLog(Protocol):
    """Where several processes record their requests, to keep one rate together."""

    async def add(self, purpose: Purpose, rate: Rate) -> tuple[bool, Sequence[Request]]:
        """Record a request if the rate allows it; whether it did, and all of the last window."""
        ...

    async def recent(self, rate: Rate) -> Sequence[Request]:
        """The requests of the last window, oldest first."""
        ...


class RateLimiter:
    """The requests of one upstream.

    Args:
        rate: how many there may be.
        clock: seconds, from any beginning.
        log: of all processes that share the rate; without one it is ours alone.
    """

    def __init__(
        self,
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
        log: RequestLog | None = None,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._log = log
        self._made: list[tuple[float, Purpose]] = []

    async def refresh(self) -> None:
        """Read what other processes have requested."""
        if self._log:
            self._set(await self._log.recent(self._rate))

    @property
    def left(self) -> int:
        """How many requests may go now, whatever they are for."""
        return self._rate.left(self._recent())

    def available(self, purpose: Purpose) -> int:
        """How many such requests may go now, as far as we know of other processes."""
        return self._rate.available(purpose, self._recent())

    def seconds_until_available(self, purpose: Purpose) -> float:
        """Seconds until such a request may go; 0: now."""
        return self._rate.seconds_until_available(purpose, self._recent())

    async def acquire(self, purpose: Purpose, timeout: float) -> float:
        """Wait at most `timeout` seconds for leave to make one request.

        Returns:
            0 if it may be made, else the seconds after which another try makes sense.
        """
        deadline = self._clock() + timeout
        while self.seconds_until_available(purpose) > 0 or not await self._take(purpose):
            delay = self.seconds_until_available(purpose) or _A_MOMENT
            if self._clock() + delay > deadline:
                return delay
            await asyncio.sleep(delay)
        return 0.0

    async def _take(self, purpose: Purpose) -> bool:
        """Record a request, unless other processes were faster."""
        if self._log is None:
            self._made.append((self._clock(), purpose))
            return True
        taken, recent = await self._log.add(purpose, self._rate)
        self._set(recent)
        return taken

    def _set(self, recent: Sequence[Request]) -> None:
        now = self._clock()
        self._made = [(now - request.age, request.purpose) for request in recent]

    def _recent(self) -> list[Request]:
        now = self._clock()
        self._made = [made for made in self._made if now - made[0] < self._rate.window]
        return [Request(now - at, purpose) for at, purpose in self._made]
