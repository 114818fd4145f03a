"""Detects that an upstream's URL, or the account of our key, is not the same as before.

A single 404 may mean that a generation was deleted. If an upstream answers 404 for many confirmed
generations and 200 for none in between, its 404s are ignored.
"""

from collections.abc import Callable

from service.domain.upstreams import KEY_SETTING, URL_SETTING

_THRESHOLD = 10  # unknown generations
_PROBE_INTERVAL = 60.0  # seconds between background requests after the check has failed


class AccountCheck:
    """The confirmed generations that one upstream has not known since it last knew one.

    Args:
        upstream: the upstream's name.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, upstream: str, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._clock = clock
        self._unknown: set[str] = set()
        self._probed_at = -_PROBE_INTERVAL

    @property
    def failed(self) -> bool:
        """Whether the upstream's 404s are ignored."""
        return len(self._unknown) >= _THRESHOLD

    @property
    def warning(self) -> str:
        """The warning for users."""
        return (
            f"{self._upstream} knows none of {len(self._unknown)} generations that it returned "
            f"before. Check {URL_SETTING[self._upstream]}, and whether "
            f"{KEY_SETTING[self._upstream]} belongs to the same account."
        )

    def record_unknown(self, generation_id: str) -> bool:
        """Record a 404 for a generation that the upstream confirmed before.

        Returns:
            Whether the check fails with this one.
        """
        before = self.failed
        self._unknown.add(generation_id)
        return self.failed and not before

    def record_known(self) -> None:
        """Record that the upstream knew a generation."""
        self._unknown.clear()

    def allowed(self, available: int) -> int:
        """Limit background requests to one per minute while the check fails.

        Args:
            available: how many requests the request budget allows.
        """
        if not self.failed:
            return available
        if self._clock() < self._probed_at + _PROBE_INTERVAL:
            return 0
        self._probed_at = self._clock()
        return min(available, 1)
