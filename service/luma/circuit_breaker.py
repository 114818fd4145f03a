"""Leaves an upstream alone that fails, and finds out with one request whether it is back.

    closed ──5 failures in a row, or it says so──► open ──time is up──► one probe
      ▲                                             ▲                   │      │
      └─────────────── it answers ──────────────────┼───────────────────┘      │
                                                    └── it fails: twice as long┘

Every request carries the turn that it began in. What comes back from an earlier turn says
nothing about this one: it was under way when the breaker opened.
"""

import random
import time
from collections.abc import Callable

_FAILURES = 5
_FIRST_PAUSE = 2.0  # seconds
_LONGEST_PAUSE = 60.0
_PROBE = 1.0  # seconds after which others may ask whether the probe is back


class CircuitBreaker:
    """One upstream's breaker.

    Args:
        clock: seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = 0
        self._failures = 0
        self._next_pause = _FIRST_PAUSE
        self._resumes_at = 0.0  # 0: closed
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the upstream is being left alone."""
        return self.resumes_in() > 0

    def resumes_in(self) -> float:
        """Seconds until a request may go; 0: now. The first one after a pause is the probe."""
        left = max(0.0, self._resumes_at - self._clock()) if self._resumes_at else 0.0
        return left or (_PROBE if self._probing else 0.0)

    def enter(self) -> int:
        """A request goes; answers its turn, to be given back with how it ended."""
        self._probing = bool(self._resumes_at)
        return self._turn

    def succeeded(self, turn: int) -> None:
        """The upstream answered, whatever it said."""
        if turn == self._turn:
            self._failures, self._next_pause = 0, _FIRST_PAUSE
            self._resumes_at, self._probing = 0.0, False

    def failed(self, turn: int) -> None:
        """No answer, or an answer that says it is down."""
        if turn != self._turn:
            return
        self._failures += 1
        if self._probing or self._failures >= _FAILURES:
            self._open(self._next_pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
            self._next_pause = min(self._next_pause * 2, _LONGEST_PAUSE)

    def pause(self, seconds: float) -> None:
        """The upstream itself asked to be left alone for so long; that always counts."""
        self._open(seconds)

    def abandoned(self, turn: int) -> None:
        """Nobody waited for the answer, so it told us nothing."""
        if turn == self._turn:
            self._probing = False

    def _open(self, seconds: float) -> None:
        self._turn += 1
        self._probing = False
        self._resumes_at = max(self._resumes_at, self._clock() + seconds)
