"""Requests to addresses that users name. Each address is checked when it is dialled.

A name can resolve to another address at any time, so checking it beforehand would prove nothing:
the resolved addresses are checked, and the connection goes to one of these very addresses
(`connections`). The server's name for TLS and the header `Host` stay those of the URL. No redirect
is followed, no cookie is kept, no proxy is used, and every request opens a new connection.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.domain.addresses import Network
from service.tracking.dialling.reply import Download, Reply, Resolve, resolve

if TYPE_CHECKING:
    from service.tracking.dialling.connections import Connections


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
        self._created: Connections | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        if self._created:
            await self._created.aclose()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a POST request.

        Raises:
            Undeliverable: the URL cannot be called, or no answer came in time.
        """
        return await self._connections().post(url, headers, body)

    @asynccontextmanager
    async def download(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Download]:
        """Send a GET request, and provide the answer, whose body is of any size.

        The timeout is that of each step: connecting, and each read.

        Raises:
            Undeliverable: the URL cannot be called, or the connection broke.
        """
        async with self._connections().download(url, headers) as answer:
            yield answer

    def _connections(self) -> "Connections":
        from service.tracking.dialling.connections import Connections

        if self._created is None:
            self._created = Connections(self._allowed, self._timeout, self._resolve)
        return self._created
