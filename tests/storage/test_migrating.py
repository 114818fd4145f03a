"""Migrating a database to the schema of this version, also from several processes at once."""

import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from service.errors import StoreUnavailable
from service.storage import migrating
from service.storage.engine.sqlite_connections import make_engine
from tests.single import upgrade


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a new database; its name has a character that a template language interprets."""
    return f"sqlite:///{tmp_path / '100%.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An engine for the database."""
    made = make_engine(url)
    yield made
    made.dispose()


def test_an_empty_database_gets_every_table_and_then_stays(engine: Engine) -> None:
    head = migrating.head()
    assert head is not None
    assert upgrade(engine) == migrating.Migrated(None, head)
    assert upgrade(engine) == migrating.Migrated(head, head)
    with engine.begin() as connection:
        assert migrating.revision(connection) == head
        names = {row[0] for row in connection.execute(text("SELECT name FROM sqlite_master"))}
    assert {"generations", "deliveries", "events"} <= names


def test_a_database_without_tables_has_no_revision(engine: Engine) -> None:
    with engine.begin() as connection:
        assert migrating.revision(connection) is None


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    upgrade(engine)
    with closing(sqlite3.connect(tmp_path / "100%.db")) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="cannot be migrated") as error:
        upgrade(engine)
    assert "newer" in error.value.hint
    with engine.begin() as connection:
        assert migrating.revision(connection) == "9999"


def test_a_process_that_is_just_making_the_database_is_waited_for(
    engine: Engine, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "100%.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE something (n INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(upgrade, engine)
            wait([waiting], timeout=0.3)
            other.execute("ROLLBACK")
            assert waiting.result(10).after == migrating.head()


def migrate_together(url: str, barrier: threading.Barrier) -> str | None:
    """Migrate at the same time as the others, and return the error, if any."""
    engine = make_engine(url)
    barrier.wait(30)
    try:
        upgrade(engine)
    except Exception as error:  # noqa: BLE001 - returned to the test
        return repr(error)
    finally:
        engine.dispose()
    return None


@pytest.mark.thorough
def test_of_several_processes_that_start_at_once_one_does_it(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        barrier = manager.Barrier(3)
        with context.Pool(3) as pool:
            failures = pool.starmap(migrate_together, [(url, barrier)] * 3)
    assert failures == [None] * 3
    engine = make_engine(url)
    with engine.begin() as connection:
        assert migrating.revision(connection) == migrating.head()
    engine.dispose()
