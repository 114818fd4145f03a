"""Runs background loops, and restarts them after a failure."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from service.logs import log

_PAUSE = 5.0


@asynccontextmanager
async def background(
    *loops: Callable[[], Awaitable[None]], pause: float = _PAUSE
) -> AsyncIterator[None]:
    """Run endless loops inside this context; cancel them at its end.

    Args:
        loops: the coroutine functions to run.
        pause: seconds before a failed loop is restarted.
    """
    tasks = [asyncio.create_task(_run(loop, pause), name=loop.__qualname__) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(loop: Callable[[], Awaitable[None]], pause: float) -> None:
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001 - a failed loop must not stop the service
            log.exception("loop_failed", loop=loop.__qualname__, again_in=pause)
        await asyncio.sleep(pause)
