"""How many requests an upstream gets from us, and which purposes they are for; pure.

A sliding window: the last `rate.period` seconds never hold more than `rate.requests` requests.
Each purpose has a share that no other can take, so that none starves another; what is not
reserved goes to whoever asks first:

    |■■ read, 20 %|■ verify, 10 %|■ reconcile, 10 %|□□□□□□ anybody's, 60 %|

A small rate has no tenth to reserve. So shares are counted over several periods, as many as it
takes for ten requests: at 2 a second over five seconds.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Self

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_RATE = re.compile(r"\s*(\d{1,6})\s*/\s*(second|minute|hour)\s*")
_FEWEST_TO_SHARE = 10


class Purpose(Enum):
    """What a request to Luma is for."""

    READ = "read"
    """Somebody waits for the answer."""
    VERIFY = "verify"
    """To confirm what a callback claimed."""
    RECONCILE = "reconcile"
    """To learn what nobody told us; nobody waits for it."""


_RESERVED = {Purpose.READ: 0.2, Purpose.VERIFY: 0.1, Purpose.RECONCILE: 0.1}


class Request(NamedTuple):
    """A request that was made."""

    age: float
    """Seconds since then."""
    purpose: Purpose


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

    @property
    def window(self) -> float:
        """Seconds over which shares are counted."""
        return self.period * self._periods

    def left(self, made: Sequence[Request], later: float = 0.0) -> int:
        """How many requests may go before the period is full, whatever they are for."""
        return max(0, self.requests - sum(each.age + later < self.period for each in made))

    def available(self, purpose: Purpose, made: Sequence[Request], later: float = 0.0) -> int:
        """How many requests for that purpose may go, given those made in the last window.

        Args:
            later: seconds from now, if no other is made until then.
        """
        recent = [request for request in made if request.age + later < self.window]
        used = Counter(request.purpose for request in recent)
        unused = {each: max(0, self._reserved(each) - used[each]) for each in Purpose}
        common = self.requests * self._periods - len(recent) - sum(unused.values())
        share = unused[purpose] + max(0, common)
        return min(self.left(made, later), share)

    def seconds_until_available(self, purpose: Purpose, made: Sequence[Request]) -> float:
        """Seconds until a request for that purpose may go; 0: now."""
        if self.available(purpose, made):
            return 0.0
        moments = sorted(
            span - request.age for request in made for span in (self.period, self.window)
        )
        moments = [moment for moment in moments if moment > 0]
        first, last = 0, len(moments) - 1  # what is available never becomes less by waiting
        while first < last:
            middle = (first + last) // 2
            if self.available(purpose, made, moments[middle]):
                last = middle
            else:
                first = middle + 1
        return moments[first]

    @property
    def _periods(self) -> int:
        return -(-_FEWEST_TO_SHARE // self.requests)

    def _reserved(self, purpose: Purpose) -> int:
        return int(self.requests * self._periods * _RESERVED[purpose] + 1e-9)
