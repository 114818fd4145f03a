"""LISTEN and NOTIFY: how instances on one PostgreSQL hear of each other's commits.

A notice says only that something was committed; whoever hears it looks for events behind the
last that it knows. So a notice that is lost, late or doubled does no harm, and one can stand
for many: a NOTIFY in each transaction would cost two thirds of the writes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from service.logs import log

_CHANNEL = "luma_tracker"
_SPACING = 0.02  # seconds between notices
_QUIET = 1.0  # seconds after which one looks without a notice, and whether the server is there
_ANSWER = 2.0  # seconds for the server to answer
_PAUSE = 0.5  # seconds before connecting again


class Notices:
    """Tells others of our commits, and us of theirs, on one connection that is made anew as needed.

    Args:
        connect: opens a connection that no pooler shares.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._heard = asyncio.Event()
        self._to_say = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Something was committed."""
        self._to_say.set()
        self._start()

    async def wait(self) -> None:
        """Until something was announced, or might have been."""
        self._start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET):
                await self._heard.wait()
        self._heard.clear()

    async def close(self) -> None:
        """Hang up."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _start(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="db-notices")

    async def _run(self) -> None:
        while True:
            try:
                await self._converse(await self._connect())
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("notices_failed", reason=str(error) or type(error).__name__)
            await asyncio.sleep(_PAUSE)

    async def _converse(self, connection: asyncpg.Connection) -> None:
        try:
            connection.add_termination_listener(lambda *_: self._to_say.set())
            await connection.add_listener(_CHANNEL, lambda *_: self._heard.set())
            self._heard.set()  # what was missed meanwhile
            while True:
                await self._say(connection)
        finally:
            connection.terminate()

    async def _say(self, connection: asyncpg.Connection) -> None:
        try:
            async with asyncio.timeout(_QUIET):
                await self._to_say.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=_ANSWER)
            return
        self._to_say.clear()
        await connection.execute(f"NOTIFY {_CHANNEL}", timeout=_ANSWER)
        await asyncio.sleep(_SPACING)
