"""Posts of `service.tracking.dialling.dialler`: httpcore, with a guard where it dials."""

import asyncio
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpcore

from service.tracking.dialling.guard import Guard
from service.tracking.dialling.reply import Reply, Undeliverable
from service.tracking.dialling.target import target_of

_EXCERPT = 1024  # bytes of an answer's body that are read
_LONGEST_ANSWER = 131_072  # bytes that are read in all; an endpoint can send heads (1xx) forever


class Connections:
    """Opens a connection for each post.

    Args:
        guard: connects.
        timeout: seconds for one request.
        tls: how servers prove who they are.
    """

    def __init__(self, guard: Guard, timeout: float, tls: ssl.SSLContext) -> None:
        self._timeout = timeout
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,  # the sender limits them, for each endpoint
            max_keepalive_connections=0,
            network_backend=_GuardedBackend(guard),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a POST request; see `Dialler.post`."""
        with _failures():
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._post(url, headers, body)
            except TimeoutError as error:
                raise Undeliverable(f"No answer within {self._timeout:g} s.") from error

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        to = target_of(url)
        target = httpcore.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.path)
        async with self._pool.stream(
            "POST", target, headers=to.headers(headers), content=body
        ) as answer:
            return await _reply(answer)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what can go wrong with a request into `Undeliverable`."""
    try:
        yield
    except UnicodeError as error:
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


class _LimitedStream(httpcore.AsyncNetworkStream):
    """A connection from which only so many bytes are read as an answer needs."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = _LONGEST_ANSWER

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read; fail if that is more than is left."""
        data = await self._stream.read(max_bytes, timeout)
        self._left -= len(data)
        if self._left < 0:
            raise httpcore.ReadError(f"the answer has more than {_LONGEST_ANSWER} bytes")
        return data

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


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections through the guard."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect; a part of the interface. The guard bounds the time."""

        async def dial(address: str) -> httpcore.AsyncNetworkStream:
            with _failures():
                return await self._backend.connect_tcp(
                    address, port, None, local_address, socket_options
                )

        return _LimitedStream(await self._guard.connect(host, port, dial))

    async def sleep(self, seconds: float) -> None:
        """Wait; a part of the interface."""
        await self._backend.sleep(seconds)
