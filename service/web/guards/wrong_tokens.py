"""Counts wrong tokens per client address, with bounded memory."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

MAX_WRONG_TOKENS = 20  # of one address within PERIOD
PERIOD = 60.0  # seconds
MAX_ADDRESSES = 4096  # the least recently used one is dropped first


class WrongTokenCounter:
    """The times of wrong tokens, by address; an IPv6 /64 network counts as one address.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def too_many(self, address: str) -> bool:
        """Return whether the address has sent the maximum of wrong tokens within `PERIOD`."""
        times = self._times.get(_network(address), deque[float]())
        return len(times) == MAX_WRONG_TOKENS and self._clock() - times[0] < PERIOD

    def refuses(self, address: str) -> bool:
        """Count a wrong token, and return whether too many came before it."""
        if self.too_many(address):
            return True
        self.add(address)
        return False

    def add(self, address: str) -> None:
        """Count a wrong token."""
        network = _network(address)
        self._times.setdefault(network, deque(maxlen=MAX_WRONG_TOKENS)).append(self._clock())
        self._times.move_to_end(network)
        if len(self._times) > MAX_ADDRESSES:
            self._times.popitem(last=False)


def _network(address: str) -> str:
    """Return the part of an address that a client cannot choose."""
    try:
        ip = IPv6Address(address)
    except AddressValueError:
        return address
    return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))
