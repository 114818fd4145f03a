"""How many requests an upstream gets from us, and who goes first.

A sliding window: of the last `rate.period` seconds no more than `rate.requests` may have seen a
request. What runs in the background may not fill the window, so that people find room in it:

    |■■■■■■■■■■■■■■■■■■■■■■■■|■■■|□□□|
     reconcile may fill 80 %  │   └ only for people's reads
                              └ verify may fill 90 %
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, Self

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_A_MOMENT = 0.01  # seconds; others took the room just before it would have been ours
_RATE = re.compile(r"\s*(\d{1,6})\s*/\s*(second|minute|hour)\s*")


class Purpose(Enum):
    """What a request is for, and how much of the window such requests may fill."""

    READ = 1.0
    VERIFY = 0.9
    RECONCILE = 0.8


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    requests: int
    period: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `5/second`, `30/minute` or `1000/hour`; ValueError for anything else."""
        found = _RATE.fullmatch(text)
        if not found or not int(found[1]):
            raise ValueError("must be like 5/second, 30/minute or 1000/hour")
        return cls(int(found[1]), _PERIODS[found[2]])


class RequestLog(Protocol):
    """Where several processes note their requests, to keep one budget together."""

    async def add(self, share: int, period: float) -> tuple[bool, list[float]]:
        """Note one if fewer than `share` were made in `period`; whether it was, and their ages."""
        ...

    async def ages(self, period: float) -> list[float]:
        """How many seconds ago each request of that period was made, oldest first."""
        ...


class RateLimiter:
    """The requests of one upstream.

    Args:
        rate: how many there may be.
        clock: seconds, from any beginning.
        ledger: of all who share the budget; without one it is ours alone.
    """

    def __init__(
        self,
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
        ledger: RequestLog | None = None,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._ledger = ledger
        self._spent: deque[float] = deque()

    async def refresh(self) -> None:
        """Look what others have spent."""
        if self._ledger:
            self._see(await self._ledger.ages(self._rate.period))

    def room(self, purpose: Purpose) -> int:
        """How many such requests may go just now, as far as we know of others."""
        self._forget()
        return max(0, self._share(purpose) - len(self._spent))

    def free_in(self, purpose: Purpose) -> float:
        """Seconds until there is room for such a request; 0: now."""
        if self.room(purpose):
            return 0.0
        return self._spent[-self._share(purpose)] + self._rate.period - self._clock()

    async def spend(self, purpose: Purpose, patience: float) -> float:
        """Take room for one request, waiting for at most `patience` seconds.

        Returns:
            0 if the room is ours, else the seconds after which another try makes sense.
        """
        deadline = self._clock() + patience
        while self.free_in(purpose) > 0 or not await self._take(purpose):
            delay = self.free_in(purpose) or _A_MOMENT
            if self._clock() + delay > deadline:
                return delay
            await asyncio.sleep(delay)
        return 0.0

    async def _take(self, purpose: Purpose) -> bool:
        """Note a request, unless others have taken the room meanwhile."""
        if self._ledger is None:
            self._spent.append(self._clock())
            return True
        taken, ages = await self._ledger.add(self._share(purpose), self._rate.period)
        self._see(ages)
        return taken

    def _see(self, ages: list[float]) -> None:
        self._spent = deque(self._clock() - age for age in ages)

    def _share(self, purpose: Purpose) -> int:
        return max(1, int(self._rate.requests * purpose.value))

    def _forget(self) -> None:
        while self._spent and self._spent[0] <= self._clock() - self._rate.period:
            self._spent.popleft()
