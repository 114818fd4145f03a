"""Counts the wrong tokens of each address, in a store that cannot grow."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

MOST_WRONG_TOKENS = 20  # wrong tokens of one address in PERIOD
PERIOD = 60.0  # seconds
MOST_ADDRESSES = 4096  # the one that was quiet for longest is forgotten first


class WrongTokenCounter:
    """When wrong tokens came, by address; an IPv6 network of /64 counts as one address.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def too_many(self, address: str) -> bool:
        """Whether so many wrong tokens came from there that no more are looked at."""
        times = self._times.get(_network(address), deque[float]())
        return len(times) == MOST_WRONG_TOKENS and self._clock() - times[0] < PERIOD

    def add(self, address: str) -> None:
        """A wrong token came from there."""
        network = _network(address)
        self._times.setdefault(network, deque(maxlen=MOST_WRONG_TOKENS)).append(self._clock())
        self._times.move_to_end(network)
        if len(self._times) > MOST_ADDRESSES:
            self._times.popitem(last=False)


def _network(address: str) -> str:
    """The part of an address that one visitor cannot change at will."""
    try:
        ip = IPv6Address(address)
    except AddressValueError:
        return address
    return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))
