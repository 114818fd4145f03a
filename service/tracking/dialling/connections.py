"""The connections of `service.tracking.dialling.dialler`: httpcore, with a guard where it dials."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpcore
import httpx

from service.domain.addresses import Address, Network, is_reachable
from service.tracking.dialling.reply import Download, Reply, Resolve, Undeliverable

_CONNECT_TIMEOUT = 4.0  # seconds for one address, so that another one can be tried
_RESOLVERS = 32  # threads; a name server that does not answer must not delay other names
_EXCERPT = 1024  # bytes of an answer's body that are read
_WIDE = 1 << 18  # bytes of a download that are read at once
_LONGEST_ANSWER = 131_072  # bytes that are read in all; an endpoint can send heads (1xx) forever


class Connections:
    """Opens a connection for each request; the parameters are those of the `Dialler`."""

    def __init__(self, allowed: Sequence[Network], timeout: float, resolve: Resolve) -> None:
        self._timeout = timeout
        self._backend = _GuardedBackend(allowed, resolve)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,  # the sender limits them, for each endpoint
            max_keepalive_connections=0,
            network_backend=self._backend,
        )
        self._download_backend = _GuardedBackend(allowed, resolve, limited=False)
        self._downloads = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,  # the archive limits them
            max_keepalive_connections=0,
            network_backend=self._download_backend,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()
        await self._downloads.aclose()
        self._backend.close()
        self._download_backend.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a POST request; see `Dialler.post`."""
        with _failures():
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._post(url, headers, body)
            except TimeoutError as error:
                raise Undeliverable(f"No answer within {self._timeout:g} s.") from error

    @asynccontextmanager
    async def download(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Download]:
        """Send a GET request; see `Dialler.download`."""
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout)
        with _failures():
            target, sent = _target(url, headers)
            async with self._downloads.stream(
                "GET", target, headers=sent, extensions={"timeout": timeouts}
            ) as answer:
                found = {
                    n.decode("latin-1").lower(): v.decode("latin-1") for n, v in answer.headers
                }
                yield Download(answer.status, found, answer.aiter_stream())

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        target, sent = _target(url, headers)
        async with self._pool.stream("POST", target, headers=sent, content=body) as answer:
            return await _reply(answer)


def _target(url: str, headers: Mapping[str, str]) -> tuple[httpcore.URL, list[tuple[str, str]]]:
    parsed = httpx.URL(url)
    target = httpcore.URL(
        scheme=parsed.raw_scheme,
        host=parsed.raw_host,
        port=parsed.port,
        target=parsed.raw_path,
    )
    sent = {"Host": parsed.netloc.decode("ascii"), "Connection": "close", **headers}
    return target, list(sent.items())


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what can go wrong with a request into `Undeliverable`."""
    try:
        yield
    except (httpx.InvalidURL, httpcore.UnsupportedProtocol, UnicodeError) as error:
        raise Undeliverable("The URL is malformed.") from error
    except (httpcore.NetworkError, httpcore.TimeoutException) as error:
        reason = str(error) or type(error).__name__
        raise Undeliverable(f"The connection failed: {reason}.") from error
    except (httpcore.ProtocolError, OSError) as error:
        reason = type(error).__name__  # the rest may be what a server that is not for us has said
        raise Undeliverable(f"The answer is not HTTP, or broke off: {reason}.") from error


async def _reply(answer: httpcore.Response) -> Reply:
    headers = {name.lower(): value for name, value in answer.headers}
    retry_after = headers.get(b"retry-after")
    reply = Reply(answer.status, retry_after and retry_after.decode("latin-1"), b"")  # type: ignore[arg-type]
    if reply.is_success:
        return reply
    return Reply(reply.status, reply.retry_after, await _excerpt(answer))


async def _excerpt(answer: httpcore.Response) -> bytes:
    """Read the beginning of the body; what is wrong with the rest does not matter."""
    read = b""
    try:
        async with asyncio.timeout(1):
            async for chunk in answer.aiter_stream():
                read += chunk[: _EXCERPT - len(read)]
                if len(read) >= _EXCERPT:
                    break
    except (TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        pass
    return read


class _Stream(httpcore.AsyncNetworkStream):
    """A connection; what is no reading is passed on."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write; a part of the interface, as what follows."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return type(self)(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _LimitedStream(_Stream):
    """A connection from which only so many bytes are read as an answer needs."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        super().__init__(stream)
        self._left = _LONGEST_ANSWER

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read; fail if that is more than is left."""
        data = await self._stream.read(max_bytes, timeout)
        self._left -= len(data)
        if self._left < 0:
            raise httpcore.ReadError(f"the answer has more than {_LONGEST_ANSWER} bytes")
        return data


class _WideStream(_Stream):
    """A connection from which more is read at once than httpcore asks for; that halves the CPU."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read."""
        return await self._stream.read(max(max_bytes, _WIDE), timeout)


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to addresses that may be reached, and to no others."""

    def __init__(
        self, allowed: Sequence[Network], resolve: Resolve, *, limited: bool = True
    ) -> None:
        self._allowed = allowed
        self._limited = limited
        self._resolve = resolve
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")
        self._backend = httpcore.AnyIOBackend()

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that may be reached and accepts."""
        failure: Exception = Undeliverable("The name has no address.")
        for address in await self._reachable(host, port):
            try:
                stream = await self._backend.connect_tcp(
                    str(address), port, _CONNECT_TIMEOUT, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _LimitedStream(stream) if self._limited else _WideStream(stream)
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait; a part of the interface."""
        await self._backend.sleep(seconds)

    async def _reachable(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._resolvers, self._resolve, host, port)
        except (OSError, ValueError) as error:
            raise Undeliverable("The name cannot be resolved.") from error
        reachable = [address for address in found if is_reachable(address, self._allowed)]
        if found and not reachable:
            raise Undeliverable(
                "The address is not public. Add its network to TRACKER_WEBHOOK_ALLOW if it may be "
                "called."
            )
        return list(dict.fromkeys(reachable))
