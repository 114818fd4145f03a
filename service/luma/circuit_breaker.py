"""A circuit breaker: pauses an upstream after failures, then probes it with one request.

    closed ──5 consecutive failures, or Retry-After──► open ──pause over──► one probe
      ▲                                                 ▲                    │      │
      └────────────────── probe succeeds ───────────────┼────────────────────┘      │
                                                        └─ probe fails: double pause┘

Every request carries the epoch in which it began; opening the breaker starts a new epoch. Results
from an earlier epoch are ignored: those requests were already under way when the breaker opened.
"""

import random
import time
from collections.abc import Callable

_FAILURES = 5
_FIRST_PAUSE = 2.0  # seconds
_LONGEST_PAUSE = 60.0
_PROBE = 1.0  # seconds; the retry delay of other requests while the probe is under way


class CircuitBreaker:
    """The circuit breaker of one upstream.

    Args:
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._epoch = 0
        self._failures = 0
        self._next_pause = _FIRST_PAUSE
        self._resumes_at = 0.0  # 0: closed
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether requests are refused now, during a pause or a probe."""
        return self.resumes_in() > 0

    def resumes_in(self) -> float:
        """Return the seconds until a request may be made; 0 means now.

        The first request after a pause is the probe.
        """
        left = max(0.0, self._resumes_at - self._clock()) if self._resumes_at else 0.0
        return left or (_PROBE if self._probing else 0.0)

    def begin(self) -> int:
        """Register that a request begins; returns its epoch, to be passed to `record_…`."""
        self._probing = bool(self._resumes_at)
        return self._epoch

    def record_success(self, epoch: int) -> None:
        """Record that the upstream responded; an error response other than 429 or 5xx counts."""
        if epoch == self._epoch:
            self._failures, self._next_pause = 0, _FIRST_PAUSE
            self._resumes_at, self._probing = 0.0, False

    def record_failure(self, epoch: int) -> None:
        """Record that the upstream did not respond, or responded that it is down."""
        if epoch != self._epoch:
            return
        self._failures += 1
        if self._probing or self._failures >= _FAILURES:
            self._open(self._next_pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
            self._next_pause = min(self._next_pause * 2, _LONGEST_PAUSE)

    def record_abandoned(self, epoch: int) -> None:
        """Record that a request was cancelled before its response, so its result is unknown."""
        if epoch == self._epoch:
            self._probing = False

    def pause(self, seconds: float) -> None:
        """Open the breaker because the upstream asked for a pause; counts in every epoch."""
        self._open(seconds)

    def _open(self, seconds: float) -> None:
        self._epoch += 1
        self._probing = False
        self._resumes_at = max(self._resumes_at, self._clock() + seconds)
