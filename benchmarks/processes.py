"""Servers that are processes of their own, and what they cost: CPU time and memory."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
_PATIENCE = 60.0  # seconds to start
_GRACE = 15.0  # seconds to stop
_LISTENING = re.compile(r"listening url=(\S+)")
_PROC = Path("/proc")
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)


class NotStarted(Exception):
    """It ended before it listened; the text is what it said."""


def environment(**given: str) -> dict[str, str]:
    """What a process of ours is started with: this project, and settings that are given here."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKER_", "LUMA"))}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, **given}


class Server:
    """`python -m …`, from when it says where it listens until it is left.

    Raises:
        NotStarted: it does not listen.
    """

    def __init__(self, folder: Path, *module: str, **settings: str) -> None:
        self.folder, self.arguments, self.settings = folder, module, settings
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{module[0]}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module],
                env=environment(**settings),
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        try:
            self.url = self._listening()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, politely first."""
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It stands still inside the context."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def cpu(self) -> float | None:
        """Seconds of CPU that it and its children have had; None where nobody tells."""
        return _sum(_cpu(pid) for pid in family(self._process.pid))

    def memory(self) -> float | None:
        """Bytes that it and its children have in memory; None where nobody tells."""
        return _sum(_resident(pid) for pid in family(self._process.pid))

    def _listening(self) -> str:
        deadline = time.monotonic() + _PATIENCE
        while not (found := _LISTENING.search(said := self._log.read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(said.strip())
            time.sleep(0.02)
        return found[1]


def family(pid: int) -> list[int]:
    """A process, and those that it has started, and so on."""
    found = [pid]
    for children in (_PROC / str(pid) / "task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            found += [one for child in children.read_text().split() for one in family(int(child))]
    return found


def _cpu(pid: int) -> float | None:
    try:
        told = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = told.rpartition(")")[2].split()  # the name before it may have spaces
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> float | None:
    try:
        found = _RESIDENT.search((_PROC / str(pid) / "status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _sum(parts: Iterator[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def python(arguments: Sequence[str], folder: Path, **settings: str) -> subprocess.Popen[bytes]:
    """A Python of ours that is spoken to over its standard input and output."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(**settings),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
