"""Passes requests on to Luma with httpx, as streams.

The target goes out byte for byte. httpx would write some characters in another way.
"""

import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache, partial
from http import HTTPStatus
from typing import NamedTuple
from urllib.request import getproxies

import httpx

from service.domain.redaction import REDACTED
from service.domain.upstreams import URL_SETTING
from service.errors import NoneFree, NotSent, UpstreamUnavailable
from service.luma.content_coding import GZIP, GZIP_FORMAT
from service.luma.relay import (
    HeaderList,
    Incoming,
    Outgoing,
    Progress,
    passed_down,
    passed_up,
)

_LIMITS = httpx.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=1.0)
"""A connection that Luma closes at the moment of a create would lose its answer, so connections for
requests that must not be repeated are kept for a second only."""
_RECEIVE_BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
"""The event loop takes all that the kernel has received. Left alone, the kernel takes up to 6 MB
for each answer; this is enough for 5 MB/s over 100 ms."""
_LARGEST_ERROR = 65_536
"""Bytes of an error of Luma that are searched for our key; no real error is larger."""


class RelayHttp:
    """An HTTP client that adds nothing of its own to requests but our key.

    Requests that are limited in time have connections of their own, so that none waits for files.

    Args:
        timeout: seconds that each step of a request may take.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        tls = httpx.create_ssl_context()  # once: it takes as long as several requests
        self._quick, self._slow = _connections(tls), _connections(tls)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._quick.aclose()
        await self._slow.aclose()

    async def send(self, upstream: str, base_url: str, key: str, outgoing: Outgoing) -> Incoming:
        """Pass a request on; see `LumaClient.send`."""
        connections = self._slow if outgoing.total is None else self._quick
        try:
            request = _request(base_url, key, outgoing, self._timeout)
            response = await connections.send(request)
        except httpx.PoolTimeout as error:
            message = f"Too many other requests to {upstream} are under way."
            raise NoneFree(upstream, message) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unanswered(upstream, error, outgoing.progress) from error
        headers = passed_down(response.headers.raw)
        close = partial(_close, response)
        answer = Incoming(response.status_code, headers, _raw(upstream, response), close)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return answer
        return await _without_key(answer, key)


class _Connections(NamedTuple):
    """Open connections to Luma."""

    send: Callable[[httpx.Request], Awaitable[httpx.Response]]
    aclose: Callable[[], Awaitable[None]]


def _connections(tls: ssl.SSLContext) -> _Connections:
    """Open connections without a client of httpx, which takes a third of the time of a request.

    Only a client knows the proxies of the environment.
    """
    if getproxies():
        client = httpx.AsyncClient(verify=tls, limits=_LIMITS, follow_redirects=False)
        return _Connections(partial(_send_by_client, client), client.aclose)
    transport = httpx.AsyncHTTPTransport(
        verify=tls, limits=_LIMITS, socket_options=[_RECEIVE_BUFFER]
    )
    return _Connections(transport.handle_async_request, transport.aclose)


async def _send_by_client(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    client.cookies.clear()
    return await client.send(request, stream=True)


def _request(base_url: str, key: str, outgoing: Outgoing, timeout: float) -> httpx.Request:
    base = _url(base_url)
    target = base.raw_path.rstrip(b"/") + b"/" + outgoing.target.encode("ascii")
    limits = httpx.Timeout(outgoing.timeout or timeout).as_dict()
    trace = _trace(outgoing.progress)
    extensions = {"timeout": limits, "trace": trace, "target": target}
    request = httpx.Request(outgoing.method, base, content=outgoing.body, extensions=extensions)
    request.headers = httpx.Headers(_headers(request, key, outgoing))
    return request


_url = lru_cache(httpx.URL)


async def _close(response: httpx.Response) -> None:
    """Close an answer, and drop what refers to it in a circle, together with the request's body.

    The garbage collector would find it, but after a number of objects, not of megabytes.
    """
    await response.aclose()
    response.stream = httpx.ByteStream(b"")


def without_key(body: bytes, key: str) -> bytes:
    """Replace our key in a body of Luma, which may quote the key that it refuses."""
    return body.replace(key.encode(), REDACTED.encode()) if key else body


async def _without_key(answer: Incoming, key: str) -> Incoming:
    """Return an error of Luma without our key; one that does not quote it is unchanged."""
    start = b""
    async for chunk in answer.body:
        start += chunk
        if len(start) > _LARGEST_ERROR:
            break
    plain = _plain(start, dict(answer.headers).get(b"content-encoding", b""))
    clean = without_key(plain, key)
    if clean == plain:
        return answer._replace(body=_joined(start, answer.body))
    changed = (b"content-length", b"content-encoding")
    headers = [header for header in answer.headers if header[0] not in changed]
    return answer._replace(headers=headers, body=_joined(clean, answer.body))


def _plain(body: bytes, encoding: bytes) -> bytes:
    if encoding.decode("latin-1") not in GZIP:
        return body
    try:
        return zlib.decompressobj(GZIP_FORMAT).decompress(body, _LARGEST_ERROR)
    except zlib.error:
        return body


async def _joined(start: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in rest:
        yield chunk


def _trace(progress: Progress) -> Callable[[str, object], Awaitable[None]]:
    """Return a function that httpcore tells each step, to know whether any byte has left."""

    async def trace(event: str, _info: object) -> None:
        if event == "http11.send_request_headers.started":
            progress.sent, progress.sent_at = True, time.monotonic()

    return trace


def _headers(request: httpx.Request, key: str, outgoing: Outgoing) -> HeaderList:
    """Return the caller's headers with our key, and no header that httpx adds by itself."""
    kept = {b"host", b"content-length", b"transfer-encoding"}
    own = [(name, value) for name, value in request.headers.raw if name.lower() in kept]
    passed = passed_up(outgoing.headers)
    if any(name == b"content-length" for name, _ in passed):
        own = [(name, value) for name, value in own if name.lower() == b"host"]
    return [*own, *passed, (b"authorization", f"Bearer {key}".encode())]


def _unanswered(upstream: str, error: Exception, progress: Progress) -> UpstreamUnavailable:
    if not progress.sent:
        message = f"{upstream} could not be reached: {type(error).__name__}."
        return NotSent(upstream, message, f"Check {URL_SETTING[upstream]} and the network.")
    return UpstreamUnavailable(upstream, f"{upstream} did not answer: {type(error).__name__}.")


async def _raw(upstream: str, response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx.HTTPError as error:
        message = f"{upstream} did not end its answer: {type(error).__name__}."
        raise UpstreamUnavailable(upstream, message) from error
