"""Runs `python -m service …` as a process of its own, without paying its imports each time.

    test ──argv, environment, folder, descriptors──► launcher ──fork──► luma-tracker …
         ◄──────────── process id, then exit code ──────────┘

The launcher is a process that has imported what the service imports, and nothing else; what
it forks is what `python -m service` would have become a second later. What runs at import and
looks at the terminal or the environment is not imported beforehand. Tests of starting itself
(systemd, `--fd`, installed script, stdio) start the interpreter as users do.
"""

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

_PROJECT = Path(__file__).parent.parent
_MOST = 64 * 1024  # bytes of one order
_ASIDE = 200  # descriptors from here on are free in the launcher
_SOCKET = "TEST_LAUNCHER"
"""The variable that tells workers where the launcher of the process that started them listens."""
_PRELOADED = (
    *("service.app", "service.cli", "uvicorn.lifespan.on", "uvicorn.loops.uvloop"),
    *("anyio._backends._asyncio", "mcp.server.stdio", "alembic.command", "asyncpg"),
)


class Process:
    """A process that the launcher has started; as `subprocess.Popen`, as far as tests need it."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.pid = int(line.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, as soon as it has one.

        Raises:
            subprocess.TimeoutExpired: not within `timeout` seconds.
        """
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("luma-tracker", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        self._line.close()  # of one that nobody waited for

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = int(self._line.recv(64))
            except (BlockingIOError, TimeoutError):
                return None
            self._line.close()
        return self.returncode


def launch(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start `luma-tracker` with these arguments."""
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 - a device
        standard = [(to or nothing).fileno() for to in (stdin, stdout, stderr)]
        order = {
            "argv": [*arguments],
            "environment": dict(environment),
            "folder": str(folder),
            "places": [0, 1, 2, *pass_fds],
        }
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.connect(launcher())
        socket.send_fds(line, [json.dumps(order).encode()], [*standard, *pass_fds])
    return Process(line)


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    stdin: IO[bytes] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `luma-tracker` with these arguments to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = launch(
            arguments, environment=environment, folder=folder, stdin=stdin, stdout=out, stderr=err
        )
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        printed, complained = (_text(file) for file in (out, err))
    return subprocess.CompletedProcess(list(arguments), code, printed, complained)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def launcher() -> str:
    """Where the launcher of this test run listens; it ends with the process that began it."""
    if told := os.environ.get(_SOCKET):
        return told
    folder = tempfile.mkdtemp(prefix="launcher-")
    path = os.environ[_SOCKET] = str(Path(folder) / "socket")
    ours, theirs = socket.socketpair()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    fds = (listener.fileno(), theirs.fileno())
    with listener, theirs:
        command = [sys.executable, "-m", "tests.launching", *map(str, fds)]
        process = subprocess.Popen(command, pass_fds=fds, cwd=_PROJECT)
    atexit.register(shutil.rmtree, folder)
    atexit.register(process.wait)
    atexit.register(ours.close)  # before the line above: that is how it learns of our end
    return path


def _next_to_be(listener: socket.socket, owner: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for every order until the owner has gone; answers only in what was forked."""
    running: dict[int, tuple[int, socket.socket]] = {}  # a process's descriptor -> its id, its line
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(owner, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is owner:
                    os._exit(0)
                if key.fileobj is not listener:
                    selector.unregister(key.fd)
                    _tell_end(key.fd, *running.pop(key.fd))
                    continue
                line, _ = listener.accept()
                order, descriptors, _, _ = socket.recv_fds(line, _MOST, 64)
                if (pid := os.fork()) == 0:
                    return json.loads(order), descriptors
                for descriptor in descriptors:
                    os.close(descriptor)
                line.send(str(pid).encode())
                watch = os.pidfd_open(pid)
                running[watch] = (pid, line)
                selector.register(watch, selectors.EVENT_READ)


def _tell_end(watch: int, pid: int, line: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(watch)
    with line, suppress(OSError):  # whoever started it has gone
        line.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Look like a process that was started with this order."""
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _ASIDE) for descriptor in descriptors]
    for descriptor, place in zip(aside, order["places"], strict=True):
        os.dup2(descriptor, place)
    for left_over in set(range(_ASIDE + len(aside))).difference(order["places"]):
        with suppress(OSError):  # most are not open
            os.close(left_over)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["argv"]
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")


def _main() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    listener, owner = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:])
    with listener, owner:
        order = _next_to_be(listener, owner)
    _become(*order)
    try:
        runpy.run_module("service", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        _leave(ended.code)


def _leave(code: object) -> None:
    """End with an exit code as the interpreter does, but without taking each module down.

    That would write to every page that is shared with the launcher, which takes longer than most
    commands do.
    """
    if not isinstance(code, int | None):
        raise SystemExit(code)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _main()
