"""LISTEN and NOTIFY: instances on one PostgreSQL notify each other of commits.

A notice says only that something was committed. The receiver reads the events after the last one
that it knows. A lost, late or repeated notice therefore does no harm, and one notice can stand
for many commits: a NOTIFY in each transaction would cost two thirds of the write throughput.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from service.logs import log

_CHANNEL = "luma_tracker"
_MIN_INTERVAL = 0.02  # seconds between notices
_MAX_WAIT = 1.0  # seconds without a notice, then receivers poll and the connection is tested
_TIMEOUT = 2.0  # seconds for an answer of the server
_RECONNECT_DELAY = 0.5  # seconds


class Notices:
    """Sends and receives notices on one connection, and reconnects as needed.

    Args:
        connect: opens a connection that does not go through a pooler.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._received = asyncio.Event()
        self._pending = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Notify other instances that something was committed. Does not wait."""
        self._pending.set()
        self._start()

    async def wait(self) -> None:
        """Wait for a notice, for a second at most."""
        self._start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_WAIT):
                await self._received.wait()
        self._received.clear()

    async def close(self) -> None:
        """Close the connection."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _start(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="db-notices")

    async def _run(self) -> None:
        while True:
            try:
                await self._exchange(await self._connect())
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("notices_failed", reason=str(error) or type(error).__name__)
            await asyncio.sleep(_RECONNECT_DELAY)

    async def _exchange(self, connection: asyncpg.Connection) -> None:
        try:
            connection.add_termination_listener(lambda *_: self._pending.set())
            await connection.add_listener(_CHANNEL, lambda *_: self._received.set())
            self._received.set()  # notices may have been missed
            while True:
                await self._send_next(connection)
        finally:
            connection.terminate()

    async def _send_next(self, connection: asyncpg.Connection) -> None:
        try:
            async with asyncio.timeout(_MAX_WAIT):
                await self._pending.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=_TIMEOUT)
            return
        self._pending.clear()
        await connection.execute(f"NOTIFY {_CHANNEL}", timeout=_TIMEOUT)
        await asyncio.sleep(_MIN_INTERVAL)
