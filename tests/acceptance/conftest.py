"""The service as its users meet it: a process of its own, spoken to over real sockets."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import httpx
import pytest

from service.simulator import Luma, ManualClock, Simulator
from service.tracking.callback_tokens import CallbackTokens
from tests.databases import execute, url_in
from tests.endpoints import SECRETS
from tests.launching import Process, launch, run
from tests.waiting import until

UNASKED, ASKING = {"TRACKER_RECONCILE": "false"}, {"TRACKER_RECONCILE": "true"}
"""Whether a service asks Luma unasked; if not, tests know who asked."""
KEYLESS = {"LUMAAI_API_KEY": "", "LUMA_AGENTS_API_KEY": ""}
"""Settings of a service that can ask nobody, so that what callbacks say stays as it is."""
_ANY_PORT = ("--port", "0")
SECRET = "the-secret-of-the-acceptance-tests"
SIGNING = {"TRACKER_WEBHOOK_SECRET": SECRETS[0]}
"""What a service on PostgreSQL needs to send webhooks; on SQLite it would make its own."""


def environment_for(folder: Path, luma: Luma, **given: str) -> dict[str, str]:
    """What a process of ours is started with."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKER_", "LUMA"))}
    return {
        **kept,
        "LUMAAI_API_KEY": "luma-key",
        "LUMA_AGENTS_API_KEY": "luma-api-key",
        "TRACKER_DREAM_MACHINE_URL": luma.dream_machine_url,
        "TRACKER_AGENTS_URL": luma.agents_url,
        "TRACKER_DATABASE_URL": url_in(folder),
        "TRACKER_CALLBACK_SECRET": SECRET,
        "TRACKER_UPSTREAM_TIMEOUT": "10",
        "TRACKER_DREAM_MACHINE_RATE": "1000/second",
        "TRACKER_AGENTS_RATE": "1000/second",
        **given,
    }


@dataclass
class Service:
    """One running `luma-tracker serve`."""

    environment: dict[str, str]
    folder: Path
    process: Process | subprocess.Popen[bytes] = field(init=False)
    url: str = field(init=False)

    def start(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> None:
        """Start it, and wait until it says where it listens; that socket takes requests."""
        self._await(
            lambda log: launch(
                ["serve", *(arguments or _ANY_PORT)],
                environment=self.environment,
                folder=self.folder,
                stderr=log,
                pass_fds=pass_fds,
            )
        )

    def start_by_shell(self, prefix: str, pass_fds: tuple[int, ...]) -> None:
        """Have a shell prepare what a process inherits, and then become the service."""
        command = f"{prefix} {shlex.quote(sys.executable)} -m service serve"
        self._await(
            lambda log: subprocess.Popen(
                ["/bin/bash", "-c", command],
                env=self.environment,
                cwd=self.folder,
                stderr=log,
                pass_fds=pass_fds,
            )
        )

    def _await(self, start: Callable[[IO[bytes]], Process | subprocess.Popen[bytes]]) -> None:
        begin = len(self.said)
        with self.log.open("ab") as log:
            self.process = start(log)
        try:
            until(lambda: "listening url=" in self.said[begin:] or self.process.poll() is not None)
            found = re.search(r"listening url=(\S+)", self.said[begin:])
            assert found, self.said
        except AssertionError:
            self.kill()  # nobody else knows of it
            raise
        self.url = found[1]

    def stop(self) -> None:
        """End it as an init system would."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=15)

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self.process.kill()
        self.process.wait(timeout=15)

    @property
    def log(self) -> Path:
        """Where it logs to, over all its starts."""
        return self.folder / f"service-{id(self)}.log"

    @property
    def said(self) -> str:
        """All that it has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a query of its database answers, asked past our own code."""
        return [*execute(self.database, query, *parameters)]

    @property
    def database(self) -> str:
        """Where its database is."""
        return self.environment["TRACKER_DATABASE_URL"]

    @property
    def callback_url(self) -> str:
        """Where Luma calls it back."""
        return f"{self.url}{self.callback_path}"

    @property
    def callback_path(self) -> str:
        """The path of that, which depends on nothing but the secret."""
        secrets = self.environment["TRACKER_CALLBACK_SECRET"].split(",")
        return f"/callbacks/{CallbackTokens(secrets).reusable()}"

    def command(self, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
        """Run `luma-tracker` on the same store."""
        return run(arguments, environment={**self.environment, **given}, folder=self.folder)


def start_together(services: Sequence[Service]) -> None:
    """Start all at the same moment, wait until each is ready, and stop them."""
    try:
        with ThreadPoolExecutor(len(services)) as threads:
            [*threads.map(lambda service: service.start(), services)]
        for service in services:
            assert httpx.get(f"{service.url}/readyz", timeout=30).status_code == 200
    finally:
        for service in services:
            service.stop()


@pytest.fixture
def start_service(tmp_path: Path, luma: Luma) -> Iterator[Callable[..., Service]]:
    """Starts services with settings of the test's own; all are stopped at its end."""
    with ExitStack() as started:

        def start(**given: str) -> Service:
            service = Service(environment_for(tmp_path, luma, **given), tmp_path)
            service.start()
            started.callback(service.stop)
            httpx.get(f"{service.url}/healthz", timeout=20)  # waits for the database to be made
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


@dataclass
class Running:
    """A service, Luma's stand-in behind it, and a client of the service, for tests to share."""

    service: Service
    luma: Luma
    http: httpx.Client

    @property
    def callback_url(self) -> str:
        """Where Luma calls back."""
        return self.service.callback_url

    @property
    def database(self) -> str:
        """Where its database is."""
        return self.service.database


@contextmanager
def run_service(folder: Path, **given: str) -> Iterator[Running]:
    """A service that asks nobody unasked, unless told to, for as long as it is entered."""
    with Simulator(clock=ManualClock(), echo=True).running() as luma:
        service = Service(environment_for(folder, luma, **{**UNASKED, **given}), folder)
        service.start()
        try:
            with httpx.Client(base_url=service.url, timeout=70) as client:
                assert client.get("/readyz").status_code == 200
                yield Running(service, luma, client)
        finally:
            service.stop()


@pytest.fixture
def luma_is_well(shared: "Running") -> Iterator[None]:
    """Luma answers the shared service, before a test and after it, whatever was done to it.

    That both upstreams say that they do not know an id ends a row of failures, so that those of
    several tests together do not open a breaker, which only time would close.
    """

    def neither_knows() -> bool:
        return shared.http.get(f"/v1/generations/{uuid4()}").status_code == 404

    until(neither_knows)
    yield
    shared.luma.clear_faults()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that all tests share, and that asks nobody unasked; each uses ids of its own."""
    with run_service(tmp_path_factory.mktemp("shared"), **SIGNING) as running:
        yield running
