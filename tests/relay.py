"""A network between a service and its database that can be made to stall."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Passes bytes on to a port of this machine, unless it stalls."""

    def __init__(self, target: int, said: tuple[bytes, bytes] = (b"", b"")) -> None:
        self._target = target
        self._said = said
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers = list[asyncio.StreamWriter]()
        self._tasks = list[asyncio.Task[None]]()
        self.port = 0

    def stall(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def flow(self) -> None:
        """What was held back goes on."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def end(self) -> None:
        """Hang up on everybody."""
        self._loop.call_soon_threadsafe(self._over.set)

    async def run(self, ready: threading.Event) -> None:
        """Until it is told to end."""
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._over.wait()
        server.close()
        for writer in self._writers:  # also of a connection whose task has not begun
            writer.transport.abort()

    def _accept(self, one: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._writers.append(back)
        self._tasks.append(asyncio.create_task(self._connected(one, back)))

    async def _connected(self, one: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        try:
            other, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.append(there)
            await asyncio.gather(self._pass(one, there), self._pass(other, back, self._said))
        finally:
            back.transport.abort()

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        said: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flows.wait()
                target.write(data.replace(*said) if said[0] else data)
                await target.drain()
        target.close()


@contextmanager
def relaying(target: int, said: tuple[bytes, bytes] = (b"", b"")) -> Iterator[Relay]:
    """A relay to that port, in a thread of its own.

    Args:
        said: what the other side says, and what is passed on instead, of the same length.
    """
    ready, relay = threading.Event(), Relay(target, said)
    thread = threading.Thread(target=lambda: asyncio.run(relay.run(ready)))
    thread.start()
    assert ready.wait(10)
    try:
        yield relay
    finally:
        relay.end()
        thread.join(10)
