"""MCP over stdin and stdout, for one client.

The SDK's own transport passes every line to a thread and back, which takes longer than the answer.
Here the event loop waits for the two file descriptors. The protocol itself is left to the SDK.
"""

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from service.mcp_server.server import Service, make_server
from service.mcp_server.subscriptions import ConnectionUpdates

_CHUNK = 256 * 1024  # bytes
Item = SessionMessage | Exception


async def serve_stdio(service: Service) -> None:
    """Serve one client on stdin and stdout, until it disconnects."""
    # On Windows, only a thread can wait for a pipe.
    streams = stdio_server if sys.platform == "win32" else _streams
    async with streams() as (incoming, outgoing):
        await serve_connection(service, incoming, outgoing)


async def serve_connection(service: Service, incoming: Any, outgoing: Any) -> None:
    """Serve one client on two streams of messages, until it disconnects."""
    updates = ConnectionUpdates(service.updates)
    server = make_server(service, updates)
    try:
        await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        await updates.close()


@asynccontextmanager
async def _streams() -> AsyncIterator[tuple["Incoming", "Outgoing"]]:
    with _private(0, os.open(os.devnull, os.O_RDONLY)) as stdin, _private(1, os.dup(2)) as stdout:
        yield Incoming(stdin), Outgoing(stdout)


@contextmanager
def _private(fd: int, instead: int) -> Iterator[int]:
    """Make a standard descriptor private; all other code uses `instead` meanwhile."""
    private = os.dup(fd)
    os.dup2(instead, fd)
    os.close(instead)
    os.set_blocking(private, False)
    try:
        yield private
    finally:
        os.set_blocking(private, True)  # it may be a terminal, which outlives us
        os.dup2(private, fd)
        os.close(private)


class Incoming(ObjectReceiveStream[Item]):
    """Received messages, one per line; for a line that is no message, its exception."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._partial = bytearray()  # a line whose end is not received yet
        self._ended = False

    async def receive(self) -> Item:
        """Return the next message.

        Raises:
            anyio.EndOfStream: the client has disconnected.
        """
        while not self._lines:
            if self._ended:
                raise anyio.EndOfStream
            await self._read()
        text = self._lines.popleft().decode(errors="replace")
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_json(text, by_name=False))
        except ValidationError as error:
            return error

    async def _read(self) -> None:
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(self._fd, loop.add_reader, loop.remove_reader)
            return
        self._partial += chunk or b"\n"
        self._ended = not chunk
        if b"\n" in chunk or self._ended:
            *lines, rest = bytes(self._partial).split(b"\n")
            self._lines.extend(line for line in lines if line.strip())
            self._partial = bytearray(rest)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


class Outgoing(ObjectSendStream[SessionMessage]):
    """Sends messages, one per line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = asyncio.Lock()  # keeps lines apart

    async def send(self, item: SessionMessage) -> None:
        """Write a message; when this returns, the client can read it.

        Raises:
            anyio.BrokenResourceError: the client has disconnected.
        """
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        async with self._lock:
            try:
                await self._write(memoryview(line))
            except OSError as error:
                raise anyio.BrokenResourceError from error

    async def _write(self, line: memoryview) -> None:
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                with anyio.CancelScope(shield=True):  # a partial line would corrupt the next
                    await _ready(self._fd, loop.add_writer, loop.remove_writer)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


async def _ready(
    fd: int, add: Callable[[int, Callable[[], None]], Any], remove: Callable[[int], Any]
) -> None:
    """Wait until a file descriptor is readable, or writable.

    Args:
        fd: the file descriptor.
        add: `add_reader` or `add_writer` of the event loop.
        remove: `remove_reader` or `remove_writer` of the event loop.
    """
    event = asyncio.Event()
    add(fd, event.set)
    try:
        await event.wait()
    finally:
        remove(fd)
