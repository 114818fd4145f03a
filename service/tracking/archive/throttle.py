"""Copies give way to requests: the threads that copy pause while the event loop is busy."""

import asyncio
import time
from types import TracebackType
from typing import Self

_EVERY = 0.05  # seconds between looks at the event loop
_BUSY = 0.4  # the share of a core that it takes with many requests; copies alone take less
_IDLE = 0.2  # the share at which it is no longer busy; copies that pause take much less
_PAUSE = 0.3  # seconds, if it takes a whole core; each piece takes the interpreter from it


class Throttle:
    """Watches, while copies have entered it, how much of a core the event loop's thread takes.

    It takes less while copies keep it from running. So it must become much less busy, and not
    only a little, before they are fast again.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """How long a copy is to pause after each piece; any thread may read it."""
        self._copies = 0

    def __enter__(self) -> Self:
        self._copies += 1
        if self._copies == 1:
            self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._copies -= 1
        if not self._copies:
            self._timer.cancel()

    def _begin(self) -> None:
        self._at, self._used = time.monotonic(), time.thread_time()
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._look)

    def _look(self) -> None:
        share = (time.thread_time() - self._used) / (time.monotonic() - self._at)
        is_busy = share > (_IDLE if self.seconds else _BUSY)
        self.seconds = _PAUSE * min(share, 1.0) if is_busy else 0.0
        self._begin()
