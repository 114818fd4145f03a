"""Downloads of `service.tracking.dialling.dialler`: dialled by the event loop, read by a thread."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from service.tracking.dialling.exchange import Exchange
from service.tracking.dialling.guard import Guard
from service.tracking.dialling.reply import Download, Undeliverable, reason_of
from service.tracking.dialling.target import Target, target_of

_THREADS = 32  # the archive has fewer downloads at once

Taken = TypeVar("Taken")


class Downloads:
    """Opens a connection for each download, and gives it to a thread.

    Args:
        guard: connects.
        timeout: seconds for each step.
        tls: how servers prove who they are.
    """

    def __init__(self, guard: Guard, timeout: float, tls: ssl.SSLContext) -> None:
        self._guard = guard
        self._timeout = timeout
        self._tls = tls
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="download")

    def close(self) -> None:
        """Begin no more downloads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def download(
        self, url: str, headers: Mapping[str, str], take: Callable[[Download], Taken]
    ) -> Taken:
        """Send a GET request; see `Dialler.download`."""
        target = target_of(url)
        with self._secured(await self._connected(target), target) as connection:

            def exchange() -> Taken:
                return take(Exchange(connection, self._timeout).get(target, headers))

            loop = asyncio.get_running_loop()
            return await _finished(loop.run_in_executor(self._threads, exchange), connection)

    async def _connected(self, target: Target) -> socket.socket:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._guard.connect(
                    target.host, target.port, partial(_dial, target.port)
                )
        except TimeoutError as error:
            raise Undeliverable(f"No answer within {self._timeout:g} s.") from error

    def _secured(self, connection: socket.socket, target: Target) -> socket.socket:
        """Return the connection, with TLS if it is asked for; the thread shakes hands."""
        if target.scheme == "http":
            return connection
        try:
            return self._tls.wrap_socket(
                connection, do_handshake_on_connect=False, server_hostname=target.host
            )
        except ValueError as error:
            connection.close()
            raise Undeliverable("The URL is malformed.") from error
        except OSError as error:
            connection.close()
            raise Undeliverable(f"The connection failed: {reason_of(error)}.") from error


async def _dial(port: int, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise Undeliverable(f"The connection failed: {reason_of(error)}.") from error
        raise
    return connection


async def _finished(future: asyncio.Future[Taken], connection: socket.socket) -> Taken:
    """Wait for the thread; if nobody waits any more, end its connection, and so the thread."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with suppress(OSError):  # not SSLSocket's: after that, it would read what is encrypted
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        with suppress(Exception):  # what came so far is kept
            await future
        raise
