"""Two clocks: the real one, and one that stands still until somebody moves it."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

START = datetime(2026, 5, 30, 12, 34, 56, 236000, tzinfo=UTC)
"""Where a manual clock begins when it is not told; fixed, so that bodies can be compared."""


class Clock(Protocol):
    """What the simulator asks of a clock."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...

    def seconds_until(self, moment: datetime, /) -> float | None:
        """Real seconds until `moment`; None when it does not come by waiting."""
        ...


class RealClock:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def seconds_until(self, moment: datetime, /) -> float | None:
        return max(0.0, (moment - self.now()).total_seconds())


class ManualClock:
    """Stands still; a test moves it and so decides what happens when."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def seconds_until(self, _moment: datetime, /) -> float | None:
        return None

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`; ValueError when that would be backwards."""
        if seconds < 0:
            raise ValueError(f"a clock does not run backwards: {seconds} s")
        self._now += timedelta(seconds=seconds)
