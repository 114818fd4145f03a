"""What a URL says of where a request goes."""

from collections.abc import Mapping
from typing import NamedTuple

import httpx

from service.tracking.dialling.reply import Undeliverable

_PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """Where a request goes, in the parts of its URL."""

    scheme: str
    host: str
    port: int
    path: bytes
    """With the query."""
    authority: str
    """Host and port, as the URL has them."""

    def headers(self, others: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the headers of a request that has a connection of its own."""
        return [*{"Host": self.authority, "Connection": "close", **others}.items()]


def target_of(url: str) -> Target:
    """Return where a request to a URL goes.

    Raises:
        Undeliverable: the URL is malformed, or neither of HTTP nor of HTTPS.
    """
    try:
        parsed = httpx.URL(url)
        host, authority = parsed.raw_host.decode("ascii"), parsed.netloc.decode("ascii")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Undeliverable("The URL is malformed.") from error
    if parsed.scheme not in _PORTS:
        raise Undeliverable("The URL is malformed.")
    port = parsed.port or _PORTS[parsed.scheme]
    return Target(parsed.scheme, host, port, parsed.raw_path, authority)
