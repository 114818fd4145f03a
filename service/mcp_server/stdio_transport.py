"""MCP over stdin and stdout, for one client.

The SDK's own transport hands every line to a thread and back, which takes longer than the answer.
Here the event loop waits for the two descriptors itself. What the lines mean, and all else that the
protocol wants, stays the SDK's business.
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

from service.mcp_server.server import make_server
from service.tracking.tracker import Tracker

_CHUNK = 256 * 1024  # bytes
Item = SessionMessage | Exception


async def serve_stdio(tracker: Tracker) -> None:
    """Serve one client on stdin and stdout, until it leaves."""
    server = make_server(tracker)
    # Windows cannot wait for a pipe but in a thread.
    wire = stdio_server if sys.platform == "win32" else _wire
    async with wire() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


@asynccontextmanager
async def _wire() -> AsyncIterator[tuple["Incoming", "Outgoing"]]:
    with _taken(0, os.open(os.devnull, os.O_RDONLY)) as stdin, _taken(1, os.dup(2)) as stdout:
        yield Incoming(stdin), Outgoing(stdout)


@contextmanager
def _taken(fd: int, instead: int) -> Iterator[int]:
    """A standard descriptor for us alone; whoever else uses it meanwhile gets `instead`."""
    ours = os.dup(fd)
    os.dup2(instead, fd)
    os.close(instead)
    os.set_blocking(ours, False)
    try:
        yield ours
    finally:
        os.set_blocking(ours, True)  # it may be a terminal, which outlives us
        os.dup2(ours, fd)
        os.close(ours)


class Incoming(ObjectReceiveStream[Item]):
    """Messages, a line each; a line that is none comes as the exception that it is."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._begun = bytearray()  # a line whose end has not come
        self._ended = False

    async def receive(self) -> Item:
        """The next.

        Raises:
            anyio.EndOfStream: the client has left.
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
        self._begun += chunk or b"\n"
        self._ended = not chunk
        if b"\n" in chunk or self._ended:
            *whole, rest = bytes(self._begun).split(b"\n")
            self._lines.extend(line for line in whole if line.strip())
            self._begun = bytearray(rest)

    async def aclose(self) -> None:
        """Nothing is held."""


class Outgoing(ObjectSendStream[SessionMessage]):
    """Takes messages, and writes a line for each."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = asyncio.Lock()  # no line gets into another

    async def send(self, item: SessionMessage) -> None:
        """Write one; when this returns, the client can read it.

        Raises:
            anyio.BrokenResourceError: the client has gone.
        """
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        async with self._turn:
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
                with anyio.CancelScope(shield=True):  # half a line would spoil the next
                    await _ready(self._fd, loop.add_writer, loop.remove_writer)

    async def aclose(self) -> None:
        """Nothing is held."""


async def _ready(
    fd: int, add: Callable[[int, Callable[[], None]], Any], remove: Callable[[int], Any]
) -> None:
    """Wait until a descriptor can be read, or written."""
    event = asyncio.Event()
    add(fd, event.set)
    try:
        await event.wait()
    finally:
        remove(fd)
