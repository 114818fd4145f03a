"""Copies give way to requests: threads that copy pause while the event loop is busy."""

import asyncio
import time
from types import TracebackType
from typing import Self

_EVERY = 0.05  # seconds between looks at the event loop
_IDLE = 0.15  # the share of a core that it takes with few requests
_PAUSE = 0.1  # seconds after each piece of a copy, if it took a whole core


class Throttle:
    """Watches, while it is entered, how much of a core the thread of the event loop takes."""

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._share = 0.0
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def pause(self) -> None:
        """Wait, in the thread of a copy, the longer the busier the event loop is."""
        if (share := self._share) > _IDLE:
            time.sleep(_PAUSE * share)

    def _begin(self) -> None:
        self._at, self._used = time.monotonic(), time.thread_time()
        self._timer = self._loop.call_later(_EVERY, self._look)

    def _look(self) -> None:
        used, seconds = time.thread_time() - self._used, time.monotonic() - self._at
        self._share = min(used / seconds, 1.0)
        self._begin()
