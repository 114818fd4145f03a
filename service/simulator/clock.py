"""Two clocks: the system's, and one that moves only when it is told to."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

START = datetime(2026, 5, 30, 12, 34, 56, 236000, tzinfo=UTC)
"""Default start of a manual clock; fixed, so that bodies can be compared."""


class Clock(Protocol):
    """The interface of a clock."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        ...

    def seconds_until(self, moment: datetime, /) -> float | None:
        """Return real seconds until `moment`; None if waiting does not bring it about."""
        ...


class RealClock:
    """The system clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def seconds_until(self, moment: datetime, /) -> float | None:
        return max(0.0, (moment - self.now()).total_seconds())


class ManualClock:
    """A clock that only `advance` moves."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def seconds_until(self, _moment: datetime, /) -> float | None:
        return None

    def advance(self, seconds: float) -> None:
        """Advance by `seconds`.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"cannot move backwards: {seconds} s")
        self._now += timedelta(seconds=seconds)
