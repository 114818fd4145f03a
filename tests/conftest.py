"""What tests stand on: a stand-in for Luma on a real socket, a real database, a clock to turn."""

import gc
import json
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog
from sqlalchemy import Connection, Engine

from service.bootstrap import open_tracker
from service.config import Settings
from service.simulator import Luma, ManualClock, Simulator
from service.tracking.tracker import Tracker
from tests.databases import CHOSEN, drop_in, engine_for, migrated_in, on_postgres, template
from tests.launching import launcher
from tests.postgres import INSTALLED
from tests.thoroughness import in_ci, rounds

PAYLOADS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "payloads" / "luma.json").read_text()
)
"""Bodies as Luma sends them; the names say which are real, documented or constructed."""


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 30, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--database postgres` runs whatever touches a database on PostgreSQL."""
    parser.addoption("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.addoption("--postgres", metavar="DIR", help="the folder of another server's programs")
    parser.addoption(
        "--everything",
        action="store_true",
        help="on PostgreSQL also what is marked either_database",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell processes and functions that know no fixture."""
    os.environ[CHOSEN] = config.getoption("--database")
    if programs := config.getoption("--postgres"):
        os.environ[CHOSEN], os.environ[INSTALLED] = "postgres", programs
    _avoid_slow_defaults()
    hypothesis.settings.register_profile("ours", max_examples=rounds(40, 100), deadline=None)
    hypothesis.settings.load_profile("ours")
    if config.getoption("numprocesses", None):
        launcher()
        template()


def _avoid_slow_defaults() -> None:
    """Read no certificates for each client, and log plain tracebacks: each takes a while."""
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = os.devnull  # nothing here speaks TLS
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other database; on PostgreSQL also what touches none.

    What is marked `either_database` runs there only with `--everything`, and what is marked
    `thorough` only where CI is set.
    """
    others = ["sqlite" if on_postgres() else "postgres"]
    if on_postgres() and not config.getoption("--everything"):
        others.append("either_database")
    if not in_ci():
        others += ["thorough", *(["thorough_on_postgres"] if on_postgres() else [])]
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(other) for other in others) or not _concerns(item)
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in {*left_out}]
    items.sort(key=lambda item: item.path.stem not in _LONG)


def pytest_collection() -> None:
    """Collect tests without collecting garbage, which takes a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported stays; garbage collection need not go through it again and again."""
    gc.enable()
    gc.freeze()


def _concerns(item: pytest.Item) -> bool:
    """Whether a test is about a database at all: each as a whole, or by what it stands on."""
    fixtures = {"engine", "settings"}.intersection(getattr(item, "fixturenames", ()))
    return not on_postgres() or bool(fixtures) or item.path.parent.name in _WHOLE


_WHOLE = ("acceptance", "contract", "migrations")
_LONG = (
    *("test_restart", "test_workers", "test_cli", "test_instances", "test_reconciler"),
    *("test_lookup", "test_waiting", "test_creates", "test_events", "test_failover"),
    *("test_soak", "test_demo", "test_exhaustion", "test_upkeep", "test_hostile"),
    *("test_limits_of_luma", "test_webhooks", "test_backfill", "test_access", "test_walks"),
    *("test_tracker", "test_pooler", "test_limits", "test_fast_path", "test_durability"),
    *("test_schemathesis", "test_serve", "test_sign_in", "test_generations", "test_order"),
)
"""Files that take long begin first, so that no worker is left with one at the end."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of whoever runs the tests gets in, and no `.env`; no database is left."""
    for name in os.environ:
        if name.startswith(("TRACKER_", "LUMA")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    drop_in(tmp_path)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def luma() -> Iterator[Luma]:
    """Luma's stand-in; its generations move when the test says `luma.advance(seconds)`."""
    with Simulator(clock=ManualClock()).running() as running:
        yield running


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A migrated database, for tests of statements."""
    made = engine_for(migrated_in(tmp_path_factory.mktemp("db")))
    yield made
    made.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A writing transaction on it, of which nothing is left."""
    with engine.connect().execution_options(writes=True) as opened, opened.begin() as all_:
        yield opened
        all_.rollback()


@pytest.fixture
def settings(tmp_path: Path, luma: Luma) -> Settings:
    """With a key to both upstreams, on a database of the test's own."""
    return Settings.model_validate(
        {
            "luma_api_key": "luma-key",
            "luma_agents_api_key": "luma-api-key",
            "dream_machine_url": luma.dream_machine_url,
            "agents_url": luma.agents_url,
            "database_url": migrated_in(tmp_path),
            "callback_secret": "the-secret-of-the-tests",
            "upstream_timeout": 2.0,
        }
    )


@pytest.fixture
async def tracker(settings: Settings, clock: Clock) -> AsyncIterator[Tracker]:
    """A tracker on a migrated database, with the test's clock."""
    async with open_tracker(settings, clock) as opened:
        yield opened
