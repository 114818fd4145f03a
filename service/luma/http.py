"""HTTP requests to Luma with httpx; every HTTP outcome becomes a body or one of our errors."""

import asyncio
import json
from collections.abc import Mapping

import httpx

from service.domain.redaction import REDACTED
from service.domain.text import clean_text
from service.domain.upstreams import KEY_SETTING, URL_SETTING
from service.errors import (
    NotFound,
    TrackerError,
    UpstreamAnswer,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.luma.content_coding import decoded
from service.luma.relay import passed_down, unavailable
from service.luma.relay_http import RelayHttp, without_key

_ABOUT_GENERATION = (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY)
"""Refusals of one generation rather than of our key."""
_LARGEST = 4_194_304  # bytes of a decompressed response body
_ACCEPT_ENCODING = {"Accept-Encoding": "gzip"}  # one coding: nested ones defeat the size limit
_TRANSFER_HEADERS = (b"content-encoding", b"content-length", b"transfer-encoding")
"""Headers that no longer apply to the decoded body."""


class Http:
    """An HTTP client that turns failures into the service's errors.

    Args:
        timeout: seconds that one request may take in total.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._http = httpx.AsyncClient(timeout=timeout, follow_redirects=False)
        self.relay = RelayHttp(timeout)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()
        await self.relay.aclose()

    async def get(self, upstream: str, url: str, headers: Mapping[str, str]) -> bytes:
        """Send a GET request; see `LumaClient.get`."""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._read(upstream, url, headers)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise UpstreamUnavailable(
                upstream, f"{upstream} did not answer within {self._timeout:g} s."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamUnavailable(
                upstream,
                f"{upstream} could not be reached: {type(error).__name__}.",
                f"Check {URL_SETTING[upstream]} and the network, then retry; "
                "stored generations are still served.",
            ) from error
        return _body(upstream, response)

    async def _read(self, upstream: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """Read a response, keeping no more than `_LARGEST` bytes of its body in memory."""
        request = self._http.stream("GET", url, headers={**_ACCEPT_ENCODING, **headers})
        async with request as response:
            raw = bytearray()
            async for chunk in response.aiter_raw():
                raw += chunk
                if len(raw) > _LARGEST:
                    break
        code, body = response.status_code, b""
        try:
            body = decoded(bytes(raw), response.headers.get("content-encoding", ""), _LARGEST)
        except ValueError as error:
            if code == httpx.codes.OK:  # for any other code the code itself is the error
                raise UpstreamNonsense(upstream, f"{upstream} answered {error}.") from error
        kept = [
            (name, value)
            for name, value in response.headers.raw  # bytes, because a value need not be ASCII
            if name.lower() not in _TRANSFER_HEADERS
        ]
        return httpx.Response(code, headers=kept, content=body, request=response.request)

    async def reaches(self, url: str) -> bool:
        """Return whether a plain GET of `url` is answered with 200."""
        try:
            async with asyncio.timeout(self._timeout):
                async with self._http.stream("GET", url) as response:
                    return response.status_code == httpx.codes.OK
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False


def _body(upstream: str, response: httpx.Response) -> bytes:
    """Return the body of a 200 response, or raise the error for any other."""
    if response.status_code == httpx.codes.OK:
        return response.content
    error = _error(upstream, response)
    if response.is_redirect or _has_luma_detail(response):
        headers = passed_down(response.headers.raw)
        body = without_key(response.content, _key_in(response.request))
        error.answer = UpstreamAnswer(response.status_code, headers, body)
    raise error


def _error(upstream: str, response: httpx.Response) -> TrackerError:
    code = response.status_code
    detail = _detail(response)
    message = f"{upstream} answered {code}{detail}"
    if code == httpx.codes.NOT_FOUND:
        return _not_found(upstream, message, response)
    headers = passed_down(response.headers.raw)
    if error := unavailable(upstream, "GET", code, headers, detail):
        return error
    if response.is_client_error:
        return _refused(upstream, message, code)
    return UpstreamNonsense(upstream, message, _url_hint(upstream))


def _not_found(upstream: str, message: str, response: httpx.Response) -> TrackerError:
    """Return NotFound only for Luma's own 404; a proxy or a wrong URL also answers 404."""
    if _has_luma_detail(response):
        return NotFound(message)
    return UpstreamNonsense(
        upstream,
        f"{upstream} answered 404, but not in Luma's error format.",
        _url_hint(upstream),
    )


def _refused(upstream: str, message: str, code: int) -> UpstreamRefused:
    error = UpstreamRefused(upstream, message, about_generation=code in _ABOUT_GENERATION)
    error.status = code
    error.hint = (
        f"Check {KEY_SETTING[upstream]}, and the plan and credits of its account; "
        "run `luma-tracker doctor` to find the cause."
    )
    return error


def _url_hint(upstream: str) -> str:
    return f"Check {URL_SETTING[upstream]}, and that no proxy answers in Luma's place."


def _has_luma_detail(response: httpx.Response) -> bool:
    """Return whether an error response is in Luma's own format."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and bool(body.get("detail"))


def _detail(response: httpx.Response) -> str:
    """Return Luma's `detail` of an error, a string or FastAPI's list; never an HTML page."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "."
    shown = clean_text(detail if isinstance(detail, str) else json.dumps(detail))
    key = _key_in(response.request)
    shown = shown.replace(key, REDACTED) if key else shown
    return f": {shown[:300].rstrip('.')}."


def _key_in(request: httpx.Request) -> str:
    key: str = request.headers.get("authorization", "").removeprefix("Bearer ")
    return key
