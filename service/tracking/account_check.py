"""Finds out that an upstream's URL, or the account of our key, is another one than before.

One generation may have been deleted. Where an upstream does not know many in a row that it has
confirmed itself, it is not believed.
"""

from collections.abc import Callable

_MANY = 10
_PROBE = 60.0  # seconds between checks after it has failed


class AccountCheck:
    """Which confirmed generations one upstream has not known, since it last knew one.

    Args:
        clock: seconds, from any beginning.
    """

    def __init__(self, upstream: str, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._clock = clock
        self._unknown: set[str] = set()
        self._probed_at = -_PROBE

    @property
    def failed(self) -> bool:
        """Whether its 404s are not believed."""
        return len(self._unknown) >= _MANY

    @property
    def warning(self) -> str:
        """What people are told."""
        return (
            f"{self._upstream} knows none of {len(self._unknown)} generations that it confirmed "
            "before: check its URL, and whether the key belongs to the same account."
        )

    def missed(self, generation_id: str) -> bool:
        """Note that it does not know a generation that it confirmed before.

        Returns:
            Whether the check fails with this one.
        """
        before = self.failed
        self._unknown.add(generation_id)
        return self.failed and not before

    def succeeded(self) -> None:
        """Note that it knew one."""
        self._unknown.clear()

    def allowed(self, available: int) -> int:
        """How many unasked requests may go: all that may, or one a minute if the check failed."""
        if not self.failed:
            return available
        if self._clock() < self._probed_at + _PROBE:
            return 0
        self._probed_at = self._clock()
        return min(available, 1)
