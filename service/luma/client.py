"""The HTTP client for Luma, shared by all upstreams because creating one costs more than a request.

It is created on the first request: importing httpx and loading the certificates takes a tenth of
a second, which a process that only reads stored rows does not need.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from service.luma.http import Http
    from service.luma.relay import Incoming, Outgoing


class LumaClient:
    """An HTTP client. Use it as an async context manager, for the lifetime of the process.

    Args:
        timeout: seconds that one request may take in total.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._created: Http | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._created:
            await self._created.aclose()

    async def get(self, upstream: str, url: str, headers: Mapping[str, str]) -> bytes:
        """Send a GET request and return the body of a 200 response.

        Raises:
            NotFound: 404 in Luma's own error format.
            UpstreamRefused: any other 4xx except 429.
            UpstreamNonsense: another 2xx, a redirect, a 404 in another format, or a body that is
                too large or wrongly encoded.
            UpstreamUnavailable: 429, 5xx, a timeout, or no connection.
        """
        return await self._http.get(upstream, url, headers)

    async def send(
        self, upstream: str, base_url: str, key: str, outgoing: "Outgoing"
    ) -> "Incoming":
        """Pass a request on with our key; return when the head of the answer is there.

        The caller must close the answer. Redirects are not followed, cookies are not sent.

        Raises:
            NotSent: no byte of the request left.
            UpstreamUnavailable: there was no answer; the upstream may have received the request.
        """
        return await self._http.relay.send(upstream, base_url, key, outgoing)

    async def reaches(self, url: str) -> bool:
        """Return whether a plain GET of `url` is answered with 200."""
        return await self._http.reaches(url)

    @property
    def _http(self) -> "Http":
        if self._created is None:
            from service.luma.http import Http

            self._created = Http(self._timeout)
        return self._created
