"""HTTP to Luma, as httpx speaks it: whatever can happen on the way becomes an error of ours."""

import asyncio
import json
import math
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from service.domain.redaction import REDACTED
from service.domain.text import clean_text
from service.errors import NotFound, UpstreamNonsense, UpstreamRefused, UpstreamUnavailable

_OF_THIS = (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY)
_RETRY_AFTER = 5.0  # seconds, where Luma does not say
_LARGEST = 4_194_304  # bytes of an answer, unpacked
_GZIP = 16 + zlib.MAX_WBITS
_ASKED_FOR = {"Accept-Encoding": "gzip"}  # once packed: what is packed twice may be a thousandth
_OF_THE_WAY = ("content-encoding", "content-length", "transfer-encoding")  # not of what came of it
_LONGEST_RETRY_AFTER = 3600.0


class Http:
    """Asks, and can be closed.

    Args:
        timeout: seconds that one request may take, all in all.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._http = httpx.AsyncClient(timeout=timeout, follow_redirects=False)

    async def aclose(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    async def get(self, upstream: str, url: str, headers: Mapping[str, str]) -> bytes:
        """What `LumaClient.get` promises."""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._read(upstream, url, headers)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise UpstreamUnavailable(
                upstream, f"{upstream} did not answer within {self._timeout:g} s."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamUnavailable(
                upstream, f"{upstream} could not be reached: {type(error).__name__}."
            ) from error
        return _body(upstream, response)

    async def _read(self, upstream: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """The answer, of which no more than the largest of Luma's is ever in memory."""
        asking = self._http.stream("GET", url, headers={**_ASKED_FOR, **headers})
        async with asking as response:
            packed = bytearray()
            async for some in response.aiter_raw():
                packed += some
                if len(packed) > _LARGEST:
                    break
        code, body = response.status_code, b""
        try:
            body = _unpacked(bytes(packed), response.headers.get("content-encoding", ""))
        except ValueError as error:
            if code == httpx.codes.OK:  # of any other the code says enough
                raise UpstreamNonsense(upstream, f"{upstream} answered {error}.") from error
        told = [(n, v) for n, v in response.headers.multi_items() if n.lower() not in _OF_THE_WAY]
        return httpx.Response(code, headers=told, content=body, request=response.request)

    async def reaches(self, url: str) -> bool:
        """Whether a plain GET of `url` is answered with 200."""
        try:
            async with asyncio.timeout(self._timeout):
                async with self._http.stream("GET", url) as response:
                    return response.status_code == httpx.codes.OK
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False


def _unpacked(packed: bytes, encoding: str) -> bytes:
    """The body, which may be a thousand times as large as what came.

    Raises:
        ValueError: it is too large, or packed in another way than we asked for.
    """
    if encoding in ("", "identity"):
        body = packed
    elif encoding in ("gzip", "x-gzip"):
        body = _unzipped(packed)
    else:
        raise ValueError("in an encoding that it was not asked for")
    if len(body) > _LARGEST:
        raise ValueError(f"more than {_LARGEST} bytes")
    return body


def _unzipped(packed: bytes) -> bytes:
    """As much of it as shows that it is too large."""
    unzipping = zlib.decompressobj(_GZIP)
    try:
        body = unzipping.decompress(packed, _LARGEST + 1)
    except zlib.error as error:
        raise ValueError("in a broken encoding") from error
    if not unzipping.eof and len(body) <= _LARGEST:
        raise ValueError("in a broken encoding")
    return body


def _body(upstream: str, response: httpx.Response) -> bytes:
    code = response.status_code
    if code == httpx.codes.OK:
        return response.content
    said = f"{upstream} answered {code}{_detail(response)}"
    if code == httpx.codes.NOT_FOUND:
        if not _is_lumas(response):
            raise UpstreamNonsense(
                upstream, f"{upstream} answered 404, but not as Luma does: its URL may be wrong."
            )
        raise NotFound(said)
    if code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
        told = code == httpx.codes.TOO_MANY_REQUESTS or "retry-after" in response.headers
        raise UpstreamUnavailable(upstream, said, retry_after=_retry_after(response), told=told)
    if response.is_client_error:
        raise UpstreamRefused(upstream, said, of_this=code in _OF_THIS)
    raise UpstreamNonsense(upstream, said)


def _is_lumas(response: httpx.Response) -> bool:
    """Whether an error is in Luma's own form; anybody's server answers 404."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and bool(body.get("detail"))


def _detail(response: httpx.Response) -> str:
    """What Luma says of an error: `detail`, a string or FastAPI's list; never a whole page."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "."
    told = clean_text(detail if isinstance(detail, str) else json.dumps(detail))
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    told = told.replace(key, REDACTED) if key else told
    return f": {told[:300].rstrip('.')}."


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait, from either form of `Retry-After`."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    if math.isnan(seconds):
        seconds = _RETRY_AFTER
    return min(max(seconds, 1.0), _LONGEST_RETRY_AFTER)


def _seconds_until(http_date: str) -> float:
    try:
        return (parsedate_to_datetime(http_date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return _RETRY_AFTER
