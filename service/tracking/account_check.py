"""Whether an upstream can be believed that it does not know what it once confirmed.

One generation may have been deleted. Where many in a row are unknown that this upstream itself has
spoken of before, it is more likely that its URL, or the account of our key, is another one now.
"""

from collections.abc import Callable

_MANY = 10
_PROBE = 60.0  # seconds between checks while in doubt


class AccountCheck:
    """What one upstream has not known, of late.

    Args:
        clock: seconds, from any beginning.
    """

    def __init__(self, upstream: str, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._clock = clock
        self._unknown: set[str] = set()
        self._probed_at = -_PROBE

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return len(self._unknown) >= _MANY

    @property
    def warning(self) -> str:
        """What people are told."""
        return (
            f"{self._upstream} knows none of {len(self._unknown)} generations that it confirmed "
            "before: check its URL, and whether the key belongs to the same account."
        )

    def add(self, generation_id: str) -> bool:
        """It does not know this one, which it confirmed before; whether doubts begin with it."""
        before = self.exist
        self._unknown.add(generation_id)
        return self.exist and not before

    def clear(self) -> None:
        """It knew one."""
        self._unknown.clear()

    def allowed(self, room: int) -> int:
        """How many may be asked about unasked: while in doubt, one a minute."""
        if not self.exist:
            return room
        if self._clock() < self._probed_at + _PROBE:
            return 0
        self._probed_at = self._clock()
        return min(room, 1)
