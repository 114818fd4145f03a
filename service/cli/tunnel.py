"""Cloudflare's quick tunnel: a program that gives a local port a public URL while it runs.

`cloudflared` writes its log to stderr. Among the lines is the URL, in a box:

    2026-05-30T12:00:03Z INF |  https://some-random-words.trycloudflare.com  |

A thread reads the log to its end, and sends this process SIGALRM when there is news.
"""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Mapping

from service.cli.workers import pause_after
from service.domain.redaction import without_tokens
from service.domain.text import one_line
from service.errors import SettingsError

PROGRAM = "cloudflared"
_URL = re.compile(r"https://(?!api\.)[a-z0-9][a-z0-9-]*\.trycloudflare\.com(?![\w.-])")
"""An error may name https://api.trycloudflare.com, which is no tunnel."""
_UNTIL_URL = 45.0  # seconds
_GRACE = "2s"  # for requests in progress when it is told to end
_ENDING = 3.0  # seconds until it is killed
_READING = 1.0  # seconds until all that it logged is read
_LONGEST_PAUSE = 60.0  # seconds before it is started again
_STEADY = 60.0  # seconds; if it ends sooner, the pauses grow


def find_program() -> str:
    """Return the path of cloudflared.

    Raises:
        SettingsError: it is not installed.
    """
    if path := shutil.which(PROGRAM):
        return path
    raise SettingsError(
        f"--tunnel: {PROGRAM} is not installed, or not in a folder of PATH.",
        "Install it (https://developers.cloudflare.com/tunnel/downloads/), or make the service "
        "reachable in another way and set TRACKER_PUBLIC_URL; docs/reaching.md shows how.",
    )


class Tunnel:
    """The process of a tunnel, or the next one after it ended.

    Args:
        program: the path of cloudflared.
        port: the port on this machine that the tunnel leads to.
        environment: the environment of the process, without settings of ours or of tunnels.
        closed: descriptors that the process must not inherit.
    """

    def __init__(
        self, program: str, port: int, environment: Mapping[str, str], closed: tuple[int, ...]
    ) -> None:
        self._command = [
            *(program, "tunnel", "--config", os.devnull),  # the user's would lead elsewhere
            *("--no-autoupdate", "--grace-period", _GRACE, "--url", f"http://127.0.0.1:{port}"),
        ]
        self._environment = environment
        self._closed = closed
        self.pid: int | None = None
        """None between its end and its next start."""
        self.url: str | None = None
        """The latest URL; it remains while the next process has none yet."""
        self.due_at = 0.0
        """When to start it, or when to end it: because it has no URL, or is told to end."""
        self.last_line = ""
        """The last line that it logged."""
        self._found: tuple[int | None, str | None] = (None, None)
        """The process that logged a URL, and the URL, until it is taken."""
        self._reader: threading.Thread | None = None
        self._failures = 0
        self._started_at = 0.0

    def act_if_due(self) -> None:
        """Start the process, or end one that took too long."""
        if time.monotonic() < self.due_at:
            return
        if self.pid is None:
            self._start()
        elif self.due_at:
            self.last_line = f"(killed, because it took too long) {self.last_line}"
            os.kill(self.pid, signal.SIGKILL)
            self.due_at = 0.0

    def take_url(self) -> str | None:
        """Return the URL of a new process that runs, once."""
        (pid, url), self._found = self._found, (None, None)
        if url is None or pid != self.pid:
            return None
        self.url, self.due_at = url, 0.0
        return url

    def ask_to_end(self) -> None:
        """Let it finish the requests in progress, for some seconds."""
        if self.pid:
            self.due_at = time.monotonic() + _ENDING
            os.kill(self.pid, signal.SIGTERM)

    def record_end(self) -> bool:
        """Return whether the process has ended since the last call, and schedule the next one."""
        if self.pid is None or os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            return False
        if self._reader:
            self._reader.join(_READING)
        self.pid, now = None, time.monotonic()
        self._failures = self._failures + 1 if now - self._started_at < _STEADY else 1
        self.due_at = now + pause_after(self._failures, _LONGEST_PAUSE)
        return True

    def close(self) -> None:
        """End it, and wait for its end."""
        if self.pid:
            self.ask_to_end()
            while self.pid and not self.record_end():
                self.act_if_due()
                time.sleep(0.02)

    def _start(self) -> None:
        read_end, write_end = os.pipe()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, write_end, 2),
            *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in self._closed),
        ]
        self.pid = os.posix_spawn(
            self._command[0],
            self._command,
            self._environment,
            file_actions=actions,
            setpgroup=0,  # Ctrl-C is for us: we end it when requests in progress are answered
            setsigmask=(),
        )
        os.close(write_end)
        self._started_at = time.monotonic()
        self.due_at = self._started_at + _UNTIL_URL
        self.last_line = ""
        self._reader = threading.Thread(target=self._follow, args=(self.pid, read_end), daemon=True)
        self._reader.start()

    def _follow(self, pid: int, read_end: int) -> None:
        """Read its log: otherwise it would stop when the pipe is full."""
        has_url = False
        with open(read_end, errors="replace") as lines:
            for line in lines:
                self.last_line = one_line(without_tokens(line)) or self.last_line
                if not has_url and (found := _URL.search(line)):
                    has_url, self._found = True, (pid, found[0])
                    os.kill(os.getpid(), signal.SIGALRM)
