"""Several processes that serve on one socket, to use more than one core.

Each worker is a complete service; they share the database, as instances on several machines do.
A worker that ends unexpectedly is restarted. SIGTERM, SIGINT and SIGHUP are passed on to all
workers. A worker that cannot start is retried with growing pauses, while the others serve.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from service.cli.listener import Listeners
from service.logs import log

STOPS = (signal.SIGTERM, signal.SIGINT)
_AWAITED = {*STOPS, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM}
_LONGEST_PAUSE = 30.0  # seconds before a worker that ended is started again
_STARTING = 60.0  # seconds; a worker that ends with an error sooner could not start


@dataclass(slots=True)
class Worker:
    """One of the processes, or the process that replaced it."""

    pid: int | None = None
    """None between its end and its next start."""
    started_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    """Failed starts in a row."""
    replaced: bool = False
    """Whether it was told to end, so that another one starts at once."""

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start the process."""
        self.pid = os.posix_spawn(sys.executable, command, environment, setsigmask=())
        self.started_at, self.replaced = time.monotonic(), False
        log.info("worker_started", pid=self.pid)

    def record_end(self, code: int) -> None:
        """Record that the process ended, and schedule its restart."""
        self.pid, now = None, time.monotonic()
        could_not_start = code > 0 and now - self.started_at < _STARTING
        self.failures = self.failures + 1 if could_not_start else 0
        self.due_at = now + (0.0 if self.replaced else pause_after(self.failures, _LONGEST_PAUSE))

    @property
    def cannot_start(self) -> bool:
        """Whether its last start failed and no later one has succeeded yet."""
        up = self.pid is not None and time.monotonic() - self.started_at >= _STARTING
        return self.failures > 0 and not up


class Workers:
    """Starts the workers, restarts them when they end, and ends with them.

    Args:
        listeners: the sockets on which all of them accept connections.
        count: number of workers.
        environment: the environment of each worker.
    """

    def __init__(self, listeners: Listeners, count: int, environment: Mapping[str, str]) -> None:
        self._listeners = listeners
        self._environment = environment
        self._workers = [Worker() for _ in range(count)]
        self._stopping = False
        self._gave_up = False

    def run(self) -> bool:
        """Run until all workers have ended.

        Returns:
            False if it ended because no worker could start.
        """
        for number in (signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, lambda *_: None)  # sigwait does not see ignored signals
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        self._listeners.set_inheritable()
        self._start_due()
        while any(worker.pid for worker in self._workers) or not self._stopping:
            self._react(signal.sigwait(_AWAITED))
        return not self._gave_up

    def _start_due(self) -> None:
        """Start the workers that are due, and set an alarm for the next."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.pid is None and worker.due_at <= now:
                worker.start(self._listeners.command, self._environment)
        self._set_alarm()

    def _set_alarm(self) -> None:
        now = time.monotonic()
        if later := [due_at - now for due_at in self._due_times() if due_at > now]:
            signal.setitimer(signal.ITIMER_REAL, min(later))

    def _due_times(self) -> list[float]:
        return [worker.due_at for worker in self._workers if worker.pid is None]

    def _react(self, received: int) -> None:
        if received == signal.SIGCHLD:
            self._record_ends()
        elif received != signal.SIGALRM:
            self._stopping = self._stopping or received in STOPS
            self._pass_on(signal.SIGTERM if received in STOPS else received)
        if not self._stopping:
            self._start_due()

    def _record_ends(self) -> None:
        """Record all workers that have ended; one SIGCHLD can stand for several."""
        for worker in self._workers:
            if worker.pid and (code := _exit_code(worker.pid)) is not None:
                report = log.info if self._stopping or worker.replaced else log.error
                report("worker_ended", pid=worker.pid, code=code)
                worker.record_end(code)
        if not self._stopping and all(worker.cannot_start for worker in self._workers):
            self._stopping = self._gave_up = True
            self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _replace_all(self) -> None:
        """End all workers, so that others start in their places."""
        for worker in self._workers:
            worker.replaced = worker.pid is not None
        self._pass_on(signal.SIGTERM)


def pause_after(failures: int, longest: float) -> float:
    """Return the seconds until the next start: 1, 2, 4 and so on with each failure in a row."""
    return min(2.0 ** min(max(0, failures - 1), 10), longest)


def _exit_code(pid: int) -> int | None:
    """Return its exit code; None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None
