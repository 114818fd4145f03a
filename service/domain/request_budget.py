"""The request budget of an upstream: a rate limit, and a reserved share per purpose. Pure.

The rate limit is a sliding window: at most `rate.requests` requests in any `rate.period` seconds.
Each purpose has a reserved share that other purposes cannot use, so that none can starve another.
The unreserved part is first come, first served:

    |■■ read, 20 %|■ verify, 10 %|■ reconcile, 10 %|□□□□□□ unreserved, 60 %|

An upstream without callbacks has no claims to verify, and all news come from reconciling. So only
one request at a time is kept free for reads, until they have used their share:

    |■■ read, 20 %|■■■ reconcile, 30 %|□□□□□ unreserved, 50 %|

A tenth of a small rate is less than one request. Shares are therefore counted over as many
periods as ten requests take: for 2 requests per second, over five seconds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Self

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_RATE = re.compile(r"\s*(\d{1,6})\s*/\s*(second|minute|hour)\s*")
_MIN_REQUESTS_TO_SHARE = 10


class Purpose(Enum):
    """What a request to an upstream is for."""

    READ = "read"
    """A caller waits for the answer."""
    VERIFY = "verify"
    """To confirm the claim of a callback."""
    RECONCILE = "reconcile"
    """To check a generation that no callback has reported on recently; no caller waits for it."""


_RESERVED = {Purpose.READ: 0.2, Purpose.VERIFY: 0.1, Purpose.RECONCILE: 0.1}
_RESERVED_IF_POLLED = {Purpose.READ: 0.2, Purpose.VERIFY: 0.0, Purpose.RECONCILE: 0.3}


class Request(NamedTuple):
    """A request that was made to the upstream."""

    age: float
    """Seconds since it was made."""
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: `requests` per `period`, in seconds."""

    requests: int
    period: float
    polled: bool = False
    """Whether the upstream has no callbacks."""

    @classmethod
    def parse(cls, text: str, *, polled: bool = False) -> Self:
        """Parse `5/second`, `30/minute` or `1000/hour`.

        Raises:
            ValueError: the text has another form, or the number is 0.
        """
        found = _RATE.fullmatch(text)
        if not found or not int(found[1]):
            raise ValueError("must be like 5/second, 30/minute or 1000/hour")
        return cls(int(found[1]), _PERIODS[found[2]], polled)

    @property
    def per_second(self) -> float:
        """The number of requests per second."""
        return self.requests / self.period

    @property
    def window(self) -> float:
        """The number of seconds over which shares are counted."""
        return self.period * self._periods

    def left(self, made: Sequence[Request], later: float = 0.0) -> int:
        """Return how many requests, of any purpose, fit into the current period.

        Args:
            made: the requests of the last window.
            later: seconds from now, if no other request is made until then.
        """
        period = self.period
        return max(0, self.requests - sum([age + later < period for age, _ in made]))

    def has_room(self, made: int) -> bool:
        """Return whether any purpose may make a request, however the `made` ones are distributed.

        Args:
            made: the number of requests of the last window.
        """
        return made + sum(map(self._reserved, Purpose)) < self.requests

    def available(self, purpose: Purpose, made: Sequence[Request], later: float = 0.0) -> int:
        """Return how many requests the purpose may make.

        Args:
            purpose: what the requests are for.
            made: the requests of the last window.
            later: seconds from now, if no other request is made until then.
        """
        window = self.window
        recent = [made_for for age, made_for in made if age + later < window]
        unused = {each: max(0, self._reserved(each) - recent.count(each)) for each in Purpose}
        if self.polled:
            unused[Purpose.READ] = min(unused[Purpose.READ], 1)
        unreserved = self.requests * self._periods - len(recent) - sum(unused.values())
        share = unused[purpose] + max(0, unreserved)
        return min(self.left(made, later), share)

    def seconds_until_available(self, purpose: Purpose, made: Sequence[Request]) -> float:
        """Return the seconds until the purpose may make a request; 0: now."""
        if self.available(purpose, made):
            return 0.0
        moments = sorted(
            span - request.age for request in made for span in (self.period, self.window)
        )
        moments = [moment for moment in moments if moment > 0]
        first, last = 0, len(moments) - 1  # waiting never reduces what is available
        while first < last:
            middle = (first + last) // 2
            if self.available(purpose, made, moments[middle]):
                last = middle
            else:
                first = middle + 1
        return moments[first]

    @property
    def _periods(self) -> int:
        return -(-_MIN_REQUESTS_TO_SHARE // self.requests)

    def _reserved(self, purpose: Purpose) -> int:
        share = (_RESERVED_IF_POLLED if self.polled else _RESERVED)[purpose]
        return max(int(self.requests * self._periods * share + 1e-9), 1 if share else 0)
