"""The published test suites of Luma's SDKs pass against the gateway, as they do against Luma.

They are in the source distributions of the SDKs. The set-up downloads these from the package index
that pip is configured with, and keeps them in pytest's cache folder, which git ignores.
"""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma, Simulator
from tests.acceptance.conftest import UNASKED, Service, environment_for

pytestmark = [pytest.mark.either_database, pytest.mark.thorough]

SUITES = {
    "lumaai": ("/dream-machine/v1", 275),
    "luma-agents": ("/agents/v1", 140),
}
"""Each SDK, the base path of its API, and the number of its tests that need a server."""
_PLUGINS = ("pytest_asyncio.plugin", "respx.plugin")
"""What the suites need; they are slower with the others."""


@pytest.fixture(scope="module")
def luma() -> Iterator[Luma]:
    """It knows every id, and does not call the URLs that the suites make up."""
    with Simulator(accept_any_id=True, deliver_callbacks=False).running() as running:
        yield running


@pytest.fixture(scope="module")
def service(luma: Luma, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sdk")
    running = Service(environment_for(folder, luma, **UNASKED), folder)
    running.start()
    try:
        assert httpx.get(f"{running.url}/readyz", timeout=30).status_code == 200
        yield running
    finally:
        running.stop()


def _suite(cache: pytest.Cache, sdk: str) -> Path:
    """The folder of an SDK's source distribution, in the version that is installed here."""
    name = f"{sdk.replace('-', '_')}-{version(sdk)}"
    kept = cache.mkdir("sdk-suites")
    if not (kept / f"{name}.tar.gz").exists():
        _download(f"{sdk}=={version(sdk)}", kept)
    if not (kept / name / "tests").is_dir():
        with tarfile.open(kept / f"{name}.tar.gz") as archive:
            archive.extractall(kept, filter="data")
    return kept / name


def _download(requirement: str, into: Path) -> None:
    """Nothing is built: this only has pip read the metadata, with the build backend installed."""
    options = ["--no-binary", ":all:", "--no-deps", "--no-build-isolation", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(into), requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{requirement} cannot be downloaded: {done.stderr}"


@pytest.mark.parametrize("sdk", SUITES)
def test_the_published_suite_of_an_sdk_passes(
    sdk: str, service: Service, pytestconfig: pytest.Config
) -> None:
    base, tests = SUITES[sdk]
    assert pytestconfig.cache is not None
    folder = _suite(pytestconfig.cache, sdk)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/api_resources", "--override-ini=addopts=",
         "-q", "--tb=short", "-p", "no:cacheprovider",
         *(part for plugin in _PLUGINS for part in ("-p", plugin))],
        cwd=folder,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TEST_API_BASE_URL": f"{service.url}{base}",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert f"{tests} passed" in done.stdout
