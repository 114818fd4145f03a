"""The one HTTP client to Luma: made once, since making one costs more than a request.

And made when the first request is due: a process that only reads what is stored starts a tenth of
a second sooner without httpx and the certificates.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from service.luma.http import Http


class LumaClient:
    """Asks Luma. Use as an async context manager, for the life of the process.

    Args:
        timeout: seconds that one request may take, all in all.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._made: Http | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._made:
            await self._made.aclose()

    async def get(self, upstream: str, url: str, headers: Mapping[str, str]) -> bytes:
        """The body of a 200 answer.

        Raises:
            NotFound: 404, as Luma says it.
            UpstreamRefused: any other 4xx but 429.
            UpstreamNonsense: another 2xx, a redirect, or a 404 that is not Luma's.
            UpstreamUnavailable: 429, 5xx, no answer in time, no connection.
        """
        return await self._http.get(upstream, url, headers)

    async def reaches(self, url: str) -> bool:
        """Whether a plain GET of `url` is answered with 200."""
        return await self._http.reaches(url)

    @property
    def _http(self) -> "Http":
        if self._made is None:
            from service.luma.http import Http

            self._made = Http(self._timeout)
        return self._made
