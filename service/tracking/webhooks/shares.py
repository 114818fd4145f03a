"""Divides the requests that may be under way, so that a slow destination delays no other.

A destination is an endpoint, or some of the creators' URLs on one host (`destination_of`).
"""

from collections import Counter
from collections.abc import Sequence

MAX_CONCURRENT = 128
MAX_PER_DESTINATION = 8
MAX_PER_HOST = 64
_FIRST = 2  # of a destination that has not been quick
QUICK = 5.0  # seconds that a request may take to be one
_MOST_KNOWN = 10_000  # destinations; then it forgets which were quick


class Shares:
    """Counts the requests under way.

    A destination begins with a small share, which grows with each quick request, and is small again
    after a slow one. So it takes many slow ones to fill all places.
    """

    def __init__(self) -> None:
        self._busy = Counter[str]()
        self._busy_hosts = Counter[str]()
        self._quick = Counter[str]()
        self._served_last = ""

    def begin(self, destination: str) -> None:
        """Note that a request begins."""
        self._busy[destination] += 1
        self._busy_hosts[_host(destination)] += 1

    def end(self, destination: str, seconds: float) -> None:
        """Note that a request has ended, after `seconds`."""
        self._busy -= Counter([destination])
        self._busy_hosts -= Counter([_host(destination)])
        if len(self._quick) > _MOST_KNOWN:
            self._quick.clear()
        if seconds > QUICK:
            self._quick.pop(destination, None)
        else:
            self._quick[destination] += 1

    def divide(self, destinations: Sequence[str], most: int) -> dict[str, int]:
        """Return how many more requests to each destination may begin, at most `most` in all.

        They take turns, and those with the fewest requests under way come first.
        """
        left = min(MAX_CONCURRENT - self._busy.total(), most)
        shares, hosts = dict[str, int](), Counter(self._busy_hosts)
        turns = sorted(destinations, key=lambda name: (name <= self._served_last, name))
        for name in sorted(turns, key=lambda name: self._busy[name]):
            allowed = min(_FIRST + self._quick[name], MAX_PER_DESTINATION) - self._busy[name]
            share = min(allowed, MAX_PER_HOST - hosts[_host(name)], left)
            if share > 0:
                shares[name], left = share, left - share
                hosts[_host(name)] += share
                self._served_last = name
        return shares


def _host(destination: str) -> str:
    return destination.partition(" ")[0]
