"""The service as its users meet it: a process of its own, spoken to over real sockets."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma

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

    def start(self) -> None:
        """Start it, and wait until it says where it listens; that socket takes requests."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0"],
            env=self.environment,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"listening on (\S+)", line):
                self.url = found[1]
                return
        raise AssertionError("".join(self.said))

    def stop(self) -> None:
        """End it as an init system would."""
        if self.process.poll() is None:
            self.process.terminate()
        _, rest = self.process.communicate(timeout=15)
        self.said.append(rest)

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
