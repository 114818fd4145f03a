"""What a request to an endpoint leads to, and how names are resolved for it."""

import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from service.domain.addresses import Address

Resolve = Callable[[str, int], Sequence[Address]]
"""Returns the addresses of a name; blocks. Raises OSError if there are none."""


class Undeliverable(Exception):
    """There was no answer; the message says why, without the URL."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request."""

    status: int
    retry_after: str | None
    excerpt: bytes
    """The beginning of the body, if the status is not 2xx."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Download:
    """The answer to a request for a file; the names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    readinto: Callable[[memoryview], int]
    """Reads what there is of the body, and returns how many bytes; 0 at its end. It blocks.

    Raises Undeliverable if the connection broke before the end.
    """


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a name, as the system resolves it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(entry[4][0]) for entry in found]


def reason_of(error: OSError) -> str:
    """Return why a connection failed, without an address."""
    if isinstance(error, TimeoutError | BlockingIOError):  # Python's clock, or the kernel's
        return "timed out"
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
