"""Commands on a store, by both ways: the database itself, and the service that runs on it."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.conftest import KEYLESS, SIGNING, Running, run_service
from tests.acceptance.conftest import shared as shared  # noqa: PLC0414 - a fixture
from tests.launching import Process, launch, run

_ESTABLISHED = "01"  # as /proc/net/tcp has it
NOWHERE = "sqlite:////nowhere/that/exists/tracker.db"


@dataclass
class Command:
    """Runs `luma-tracker` on the store of a service."""

    running: Running
    way: str

    @property
    def environment(self) -> dict[str, str]:
        """What commands are started with; by way of the service, without its database or keys."""
        environment = self.running.service.environment
        if self.way == "database":
            return environment
        kept = {k: v for k, v in environment.items() if not k.startswith(("TRACKER_", "LUMA"))}
        url = self.running.service.url
        return {**kept, "TRACKER_URL": url, "TRACKER_DATABASE_URL": NOWHERE}

    def __call__(self, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run(
            arguments, environment={**self.environment, **given}, folder=self.running.service.folder
        )

    def start(self, *arguments: str) -> "Started":
        """Start a command whose output is read while it runs."""
        out, err = (Path(tempfile.mkstemp(dir=self.running.service.folder)[1]) for _ in range(2))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = launch(
                arguments,
                environment=self.environment,
                folder=self.running.service.folder,
                stdout=stdout,
                stderr=stderr,
            )
        return Started(process, out, err)


@dataclass
class Started:
    """A command that runs."""

    process: Process
    out: Path
    err: Path

    @property
    def lines(self) -> list[str]:
        """What it has printed so far."""
        return self.out.read_text().splitlines()

    @property
    def errors(self) -> str:
        """What it has printed on stderr so far."""
        return self.err.read_text()

    def is_connected(self, url: str) -> bool:
        """Whether it has a connection to a service."""
        sockets = set[str]()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                sockets.add(link.readlink().name)
        port = f":{int(url.rpartition(':')[2]):04X}"
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        ours = (row for row in rows if f"socket:[{row[9]}]" in sockets)
        return any(row[2].endswith(port) and row[3] == _ESTABLISHED for row in ours)

    def end(self) -> int:
        """Its exit code, as soon as it ends."""
        try:
            return self.process.wait(timeout=30)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that can ask nobody: what it is told stays as it is."""
    with run_service(tmp_path_factory.mktemp("keyless"), **KEYLESS, **SIGNING) as running:
        yield running


BOTH_WAYS = ["database", pytest.param("service", marks=pytest.mark.thorough)]


@pytest.fixture(params=BOTH_WAYS)
def told(keyless: Running, request: pytest.FixtureRequest) -> Command:
    """Commands on the store of a service that can ask nobody."""
    return Command(keyless, request.param)


@pytest.fixture(params=BOTH_WAYS)
def asking(shared: Running, request: pytest.FixtureRequest) -> Command:
    """Commands on the store of a service that has the keys of both upstreams."""
    return Command(shared, request.param)
