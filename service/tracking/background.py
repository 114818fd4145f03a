"""Runs what the service does unasked, and starts it again if it falls over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from service.logs import log

_PAUSE = 5.0


@asynccontextmanager
async def background(
    *loops: Callable[[], Awaitable[None]], pause: float = _PAUSE
) -> AsyncIterator[None]:
    """Run endless loops for as long as this is entered.

    Args:
        pause: seconds before a loop that failed is started again.
    """
    tasks = [asyncio.create_task(_for_ever(loop, pause), name=loop.__qualname__) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _for_ever(loop: Callable[[], Awaitable[None]], pause: float) -> None:
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001 - the service goes on without it
            log.exception("loop_failed", loop=loop.__qualname__, again_in=pause)
        await asyncio.sleep(pause)
