"""The wheel works without the checkout: in its own environment and from another folder.

It is built from the sdist, as a release is. The environment has the runtime dependencies and
nothing else, as links to those that are installed already; so a dependency that is used but not
declared is missing there, and neither the development tools nor the checkout can be imported.
"""

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from tests.waiting import until

pytestmark = [pytest.mark.either_database, pytest.mark.thorough]

ROOT = Path(__file__).parents[2]
NAME = "luma-tracker"


@dataclass
class Installation:
    """The wheel, and an environment in which it is installed."""

    wheel: Path
    environment: Path
    folder: Path
    """Where commands run; empty at first."""

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of commands: a fresh SQLite file, and no PYTHONPATH."""
        database = f"sqlite:///{self.folder / 'tracker.db'}"
        path = f"{self.environment / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "TRACKER_DATABASE_URL": database}

    def run(self, *command: str) -> str:
        """Run a program of the environment, and return its output."""
        done = subprocess.run(
            [self.environment / "bin" / command[0], *command[1:]],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    built, place = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("installed")
    wheel = _build(built)
    environment, folder = place / "venv", place / "elsewhere"
    folder.mkdir()
    _create_environment(environment)
    constraints = str(ROOT / "constraints.txt")
    _pip("--python", str(environment), "install", "--no-index", "-c", constraints, str(wheel))
    return Installation(wheel, environment, folder)


def _build(folder: Path) -> Path:
    """Build the sdist, and the wheel from it."""
    hatchling = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(hatchling, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [sdist] = folder.glob("*.tar.gz")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(sdist))
    [wheel] = folder.glob("*.whl")
    return wheel


def _pip(*arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(pip, cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def _create_environment(environment: Path) -> None:
    """Create a virtual environment that has the runtime dependencies, but not this project."""
    venv.create(environment, symlinks=True)
    dependencies = environment / "dependencies"
    dependencies.mkdir()
    for found in _dependencies():
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = dependencies / name
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(name))))
    [site_packages] = environment.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(f"{dependencies}\n")


def _dependencies() -> Iterator[Distribution]:
    """The distributions that the project requires, and what those require, without extras."""
    seen: set[tuple[str, str]] = set()
    waiting = [(NAME, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found = distribution(name)
        if name != NAME:
            yield found
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, each) for each in ("", *needed.extras)]


def test_the_wheel_has_everything_that_the_service_needs(installation: Installation) -> None:
    with zipfile.ZipFile(installation.wheel) as archive:
        packed = set(archive.namelist())

    files = [path for top in ("service", "migrations") for path in (ROOT / top).rglob("*.*")]
    paths = [str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts]
    kept = [re.sub("^migrations/", "service/migrations/", path) for path in paths]
    assert {"service/luma/prices.json", "service/mcp_server/view.html"} < {*kept}
    assert {*kept} - packed == set()
    assert not [name for name in packed if name.startswith(("tests/", "benchmarks/"))]


def test_what_runs_is_the_installed_wheel(installation: Installation) -> None:
    report = "import json, service, sys; print(json.dumps([service.__file__, sys.path]))"

    file, path = json.loads(installation.run("python", "-c", report))

    assert Path(file).is_relative_to(installation.environment)
    assert not [entry for entry in path if Path(entry) == ROOT]
    assert installation.run(NAME, "--version") == distribution(NAME).version


def test_development_tools_are_not_there(installation: Installation) -> None:
    report = "import importlib.util; print(importlib.util.find_spec('pytest'))"

    assert installation.run("python", "-c", report) == "None"


def test_it_migrates_a_database_and_serves_it(installation: Installation) -> None:
    migrated = installation.run(NAME, "db", "upgrade")
    assert re.fullmatch(r"database: none -> \w+", migrated)
    assert (installation.folder / "tracker.db").exists()

    log = installation.folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [installation.environment / "bin" / NAME, "serve", "--port", "0"],
            cwd=installation.folder,
            env=installation.variables,
            stderr=stderr,
        )
    try:
        until(lambda: "listening url=" in log.read_text() or process.poll() is not None)
        found = re.search(r"listening url=(\S+)", log.read_text())
        assert found, log.read_text()
        with httpx.Client(base_url=found[1], timeout=30) as client:
            assert client.get("/readyz").status_code == 200
            for page in ("/", "/docs"):
                assert client.get(page).status_code == 200
            assert client.get("/v1/generations").json()["items"] == []
    finally:
        process.terminate()
        process.wait(timeout=15)
