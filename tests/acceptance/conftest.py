"""The service as its users meet it: a process of its own, spoken to over real sockets."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Thread

import httpx
import pytest

from service.simulator import Luma, ManualClock, Simulator

SECRET = "the-secret-of-the-acceptance-tests"


def environment_for(folder: Path, luma: Luma, **given: str) -> dict[str, str]:
    """What a process of ours is started with."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKER_", "LUMA"))}
    return {
        **kept,
        "LUMAAI_API_KEY": "luma-key",
        "LUMA_AGENTS_API_KEY": "luma-api-key",
        "TRACKER_DREAM_MACHINE_URL": luma.dream_machine_url,
        "TRACKER_AGENTS_URL": luma.agents_url,
        "TRACKER_DATABASE_URL": f"sqlite:///{folder / 'tracker.db'}",
        "TRACKER_CALLBACK_SECRET": SECRET,
        "TRACKER_UPSTREAM_TIMEOUT": "2",
        **given,
    }


@dataclass
class Service:
    """One running `luma-tracker serve`."""

    environment: dict[str, str]
    folder: Path
    process: subprocess.Popen[str] = field(init=False)
    url: str = field(init=False)
    said: list[str] = field(default_factory=list)
    _reader: Thread = field(init=False)

    def start(self) -> None:
        """Start it, and wait until it says where it listens; that socket takes requests."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0"],
            env=self.environment,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        listening: Future[str] = Future()
        self._reader = Thread(target=self._read, args=(listening,), daemon=True)
        self._reader.start()
        self.url = listening.result(timeout=30)

    def _read(self, listening: "Future[str]") -> None:
        """Take in all that it says, so that it never waits for a reader."""
        assert self.process.stderr
        with self.process.stderr as log:
            for line in log:
                self.said.append(line)
                if not listening.done() and (found := re.search(r"listening on (\S+)", line)):
                    listening.set_result(found[1])
        if not listening.done():
            listening.set_exception(AssertionError("".join(self.said)))

    def stop(self) -> None:
        """End it as an init system would."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=15)
        self._reader.join(timeout=15)

    @property
    def callback_url(self) -> str:
        """As `luma-tracker callback-url` prints it."""
        run = self.command("callback-url")
        assert run.returncode == 0, run.stderr
        path = run.stdout.strip().partition("/callbacks/")[2]
        return f"{self.url}/callbacks/{path}"

    def command(self, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
        """Run `luma-tracker` on the same store."""
        return subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env={**self.environment, **given},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def start_service(tmp_path: Path, luma: Luma) -> Iterator[Callable[..., Service]]:
    """Starts services with settings of the test's own; all are stopped at its end."""
    with ExitStack() as started:

        def start(**given: str) -> Service:
            service = Service(environment_for(tmp_path, luma, **given), tmp_path)
            service.start()
            started.callback(service.stop)
            return service

        yield start


@pytest.fixture
def service(start_service: Callable[..., Service]) -> Service:
    """A service with default settings, on a fresh store, with Luma's stand-in behind it."""
    return start_service()


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """A client of that service."""
    with httpx.Client(base_url=service.url, timeout=70) as client:
        yield client


_PATHS: dict[str, str] = {}
"""Secret -> callback path, since asking for one costs a process."""


@dataclass
class Running:
    """A service, Luma's stand-in behind it, and a client of the service, for tests to share."""

    service: Service
    luma: Luma
    http: httpx.Client

    @cached_property
    def callback_path(self) -> str:
        """The path of the callback URL, which depends on nothing but the secret."""
        secret = self.service.environment["TRACKER_CALLBACK_SECRET"]
        if secret not in _PATHS:
            _PATHS[secret] = httpx.URL(self.service.callback_url).path
        return _PATHS[secret]

    @property
    def callback_url(self) -> str:
        """Where Luma calls back."""
        return f"{self.service.url}{self.callback_path}"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.service.folder / "tracker.db"


@contextmanager
def run_service(folder: Path, **given: str) -> Iterator[Running]:
    """A service with settings of one's own, for as long as it is entered."""
    with Simulator(clock=ManualClock()).running() as luma:
        service = Service(environment_for(folder, luma, **given), folder)
        service.start()
        try:
            with httpx.Client(base_url=service.url, timeout=70) as client:
                assert client.get("/readyz").status_code == 200
                yield Running(service, luma, client)
        finally:
            service.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with default settings that all tests share; each uses ids of its own."""
    with run_service(tmp_path_factory.mktemp("shared")) as running:
        yield running
