"""Requests to addresses that users name. Each address is checked when it is dialled.

A name can resolve to another address at any time, so checking it beforehand would prove nothing:
the resolved addresses are checked, and the connection goes to one of these very addresses
(`guard`). The server's name for TLS and the header `Host` stay those of the URL. No redirect
is followed, no cookie is kept, no proxy is used, and every request opens a new connection.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from service.domain.addresses import Network
from service.tracking.dialling.reply import Download, Reply, Resolve, resolve

if TYPE_CHECKING:
    from service.tracking.dialling.connections import Connections
    from service.tracking.dialling.downloads import Downloads
    from service.tracking.dialling.guard import Guard

Taken = TypeVar("Taken")


class _Parts(NamedTuple):
    guard: "Guard"
    connections: "Connections"
    downloads: "Downloads"


class Dialler:
    """Sends requests to public addresses and to those in allowed networks.

    What it needs is imported at the first request, which many processes never send.

    Args:
        allowed: networks that may be reached although they are not public.
        timeout: seconds for one request, from resolving to the answer's header.
        resolve: how names are resolved.
    """

    def __init__(
        self, allowed: Sequence[Network] = (), timeout: float = 10.0, resolve: Resolve = resolve
    ) -> None:
        self._allowed = allowed
        self._timeout = timeout
        self._resolve = resolve
        self._created: _Parts | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        if self._created:
            await self._created.connections.aclose()
            self._created.downloads.close()
            self._created.guard.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a POST request.

        Raises:
            Undeliverable: the URL cannot be called, or no answer came in time.
        """
        return await self._parts().connections.post(url, headers, body)

    async def download(
        self, url: str, headers: Mapping[str, str], take: Callable[[Download], Taken]
    ) -> Taken:
        """Send a GET request, and let a thread take the answer, whose body is of any size.

        The timeout is that of each step: connecting, the head of the answer, and each read. If
        this is cancelled, the connection ends; `take` finds it broken, and is waited for.

        Args:
            url: of the file.
            headers: of the request.
            take: takes the answer, in the thread.

        Returns:
            What `take` returns.

        Raises:
            Undeliverable: the URL cannot be called, or the connection broke.
        """
        return await self._parts().downloads.download(url, headers, take)

    def _parts(self) -> _Parts:
        if self._created is None:
            self._created = _created(self._allowed, self._timeout, self._resolve)
        return self._created


def _created(allowed: Sequence[Network], timeout: float, resolve: Resolve) -> _Parts:
    import httpx

    from service.tracking.dialling.connections import Connections
    from service.tracking.dialling.downloads import Downloads
    from service.tracking.dialling.guard import Guard

    guard, tls = Guard(allowed, resolve), httpx.create_ssl_context()
    tls.set_alpn_protocols(["http/1.1"])
    return _Parts(guard, Connections(guard, timeout, tls), Downloads(guard, timeout, tls))
