"""Several processes that serve on one socket, so that more than one core answers.

Each is a whole service of its own; they share the database, as instances elsewhere would. What ends
without having been told to is begun anew; what SIGTERM, SIGINT or SIGHUP tells us is told to all.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping

from service.logs import log

_STOPS = (signal.SIGTERM, signal.SIGINT)
_HEEDED = {*_STOPS, signal.SIGHUP, signal.SIGCHLD}
_PAUSE = 1.0  # seconds before one that ended is begun anew, should it end again at once
_START = 10.0  # seconds; what gives up sooner, cannot start


class Workers:
    """Starts processes, keeps them running, and ends with them.

    Args:
        listener: the socket that all of them accept from.
        count: how many.
        environment: theirs.
    """

    def __init__(self, listener: socket.socket, count: int, environment: Mapping[str, str]) -> None:
        self._fd = listener.fileno()
        self._count = count
        self._environment = environment
        self._running: dict[int, float] = {}
        self._stopping = False
        self._failed = False

    def run(self) -> bool:
        """Until all have ended; whether that was on demand."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # else nobody would wait for it
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        os.set_inheritable(self._fd, True)
        for _ in range(self._count):
            self._start()
        while self._running:
            self._heed(signal.sigwait(_HEEDED))
        return not self._failed

    def _start(self) -> None:
        command = [sys.executable, "-m", "service", "serve", "--fd", str(self._fd)]
        pid = os.posix_spawn(sys.executable, command, self._environment, setsigmask=())
        self._running[pid] = time.monotonic()
        log.info("worker started", pid=pid)

    def _heed(self, heard: int) -> None:
        if heard == signal.SIGCHLD:
            self._bury()
            return
        self._stopping = self._stopping or heard in _STOPS
        self._tell(signal.SIGTERM if heard in _STOPS else heard)

    def _tell(self, what: int) -> None:
        for pid in self._running:
            os.kill(pid, what)

    def _bury(self) -> None:
        """Take note of all that have ended; one signal may stand for several."""
        ended = {pid: code for pid in self._running if (code := _exit_code(pid)) is not None}
        gave_up = [self._has_given_up(pid, code) for pid, code in ended.items()]
        if self._stopping or not ended:
            return
        if any(gave_up):
            self._failed = self._stopping = True
            self._tell(signal.SIGTERM)
            return
        time.sleep(_PAUSE)
        for _ in ended:
            self._start()

    def _has_given_up(self, pid: int, code: int) -> bool:
        """Whether one that has ended did so by itself, and at its start."""
        say = log.info if self._stopping else log.error
        say("worker ended", pid=pid, code=code)
        return time.monotonic() - self._running.pop(pid) < _START and code > 0


def _exit_code(pid: int) -> int | None:
    """None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None
