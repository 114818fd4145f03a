"""Copies give way to requests: threads that copy pause while the event loop is busy."""

import asyncio
import time
from types import TracebackType
from typing import Self

_EVERY = 0.05  # seconds between looks at the event loop
_BUSY = 0.25  # the share of a core that it takes with many requests; copies alone take less
_IDLE = 0.05  # the share from which on it is idle again; slowed copies take less
_PAUSE = 0.1  # seconds after each piece of a copy, if it took a whole core


class Throttle:
    """Watches, while it is entered, how much of a core the thread of the event loop takes."""

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._pause = 0.0
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
        if self._pause:
            time.sleep(self._pause)

    def _begin(self) -> None:
        self._at, self._used = time.monotonic(), time.thread_time()
        self._timer = self._loop.call_later(_EVERY, self._look)

    def _look(self) -> None:
        share = (time.thread_time() - self._used) / (time.monotonic() - self._at)
        is_busy = share > (_IDLE if self._pause else _BUSY)
        self._pause = _PAUSE * min(share, 1.0) if is_busy else 0.0
        self._begin()
