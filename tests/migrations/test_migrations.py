"""Migrations: they are linear, match the table definitions, and go up and down with data."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    inspect,
)
from sqlalchemy.engine import Engine
from sqlmodel import SQLModel

import service.storage.tables
from service.storage import migrating
from tests import launching
from tests.databases import engine_for, execute, url_in
from tests.single import upgrade

ROOT = Path(__file__).parents[2]
LINE = ScriptDirectory(str(ROOT / "migrations"))
OLDEST_FIRST = [script.revision for script in LINE.walk_revisions()][::-1]


@pytest.fixture
def database(tmp_path: Path) -> str:
    return url_in(tmp_path)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    made = engine_for(database)
    yield made
    made.dispose()


def environment(database: str) -> dict[str, str]:
    """What tells commands of that database."""
    return {**os.environ, "TRACKER_DATABASE_URL": database, "TRACKER_CALLBACK_SECRET": "secret"}


def luma_tracker(*arguments: str, database: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours on the database, from the root of the repository."""
    return launching.run(arguments, environment=environment(database), folder=ROOT)


def run(*arguments: str, database: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module on the database, from the root of the repository."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment(database),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def go_to(engine: Engine, revision: str, *, down: bool = False) -> None:
    """Migrate to a revision."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config = Config()
        config.set_main_option("script_location", str(ROOT / "migrations"))
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def value_for(column: Any, number: int) -> object:
    """Return a valid value for a column."""
    kinds: list[tuple[Any, object]] = [
        (JSON, {"n": number}),
        (Boolean, True),
        (Integer, number),
        (Float, float(number)),
        (DateTime, datetime(2026, 5, 30, tzinfo=UTC)),
        (LargeBinary, b"\x00\xff"),
    ]
    fitting = [value for kind, value in kinds if isinstance(column.type, kind)]
    return fitting[0] if fitting else f"{column.name}-{number}"


def fill(connection: Connection, number: int) -> int:
    """Insert a row into every table of the current revision, and return the number of tables."""
    tables = MetaData()
    tables.reflect(connection)
    filled = [t for t in tables.sorted_tables if t.name != "alembic_version"]
    for table in filled:
        row = {column.name: value_for(column, number) for column in table.columns}
        connection.execute(table.insert().values(row))
    return len(filled)


def difference(engine: Engine) -> list[Any]:
    """Return the differences that Alembic finds between the database and the tables."""
    with engine.connect() as connection, connection.begin():
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, SQLModel.metadata))


def test_there_is_one_line_of_migrations_with_one_head() -> None:
    assert len(LINE.get_heads()) == 1
    assert len(LINE.get_bases()) == 1
    assert migrating.head() == LINE.get_current_head() == OLDEST_FIRST[-1]
    for script in LINE.walk_revisions():
        assert not script.is_merge_point
        assert script.doc, f"{script.revision} says what it does"


def test_the_migrated_schema_is_that_of_the_tables(engine: Engine) -> None:
    assert service.storage.tables.GenerationRow.__tablename__ in SQLModel.metadata.tables
    migrated = upgrade(engine)

    assert (migrated.before, migrated.after) == (None, migrating.head())
    assert difference(engine) == []


def test_indexes_and_constraints_are_those_of_the_tables_too(
    engine: Engine, tmp_path: Path
) -> None:
    """`compare_metadata` does not compare everything, so both schemas are listed and compared."""
    upgrade(engine)
    made = engine_for(url_in(tmp_path / "made"))
    with made.begin() as connection:
        SQLModel.metadata.create_all(connection)
    shapes = []
    for each in (engine, made):
        tables = MetaData()
        tables.reflect(each)
        shapes.append(
            {
                table.name: (
                    {(c.name, str(c.type), c.nullable, c.primary_key) for c in table.columns},
                    {(i.name, tuple(i.columns.keys()), i.unique) for i in table.indexes},
                )
                for table in tables.sorted_tables
                if table.name != "alembic_version"
            }
        )
    made.dispose()

    assert shapes[0] == shapes[1]


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        fill(connection, 1)

    again = upgrade(engine)

    assert again.before == again.after == migrating.head()
    assert difference(engine) == []


def test_every_step_goes_up_and_down_and_up_again_with_data_in_it(engine: Engine) -> None:
    for number, revision in enumerate(OLDEST_FIRST, 1):
        go_to(engine, revision)
        with engine.begin() as connection:
            assert fill(connection, number) > 0
    for revision in [*OLDEST_FIRST[-2::-1], "base"]:
        go_to(engine, revision, down=True)
    with engine.begin() as connection:
        assert migrating.revision(connection) is None
        assert {*inspect(connection).get_table_names()} <= {"alembic_version"}

    go_to(engine, "head")

    assert difference(engine) == []
    with engine.begin() as connection:
        assert fill(connection, 1) > 0


def test_a_seq_is_never_given_twice(engine: Engine) -> None:
    """Otherwise a client that resumes after the newest events were pruned would miss some."""
    upgrade(engine)
    with engine.begin() as connection:
        add = (
            "INSERT INTO events (generation_id, to_state, rev, source, at) "
            "VALUES ('x', 'queued', 1, 'callback', '2026-05-30 12:00:00.000000')"
        )
        connection.exec_driver_sql(add)
        [(first,)] = connection.exec_driver_sql("SELECT seq FROM events").fetchall()
        connection.exec_driver_sql("DELETE FROM events")
        connection.exec_driver_sql(add)
        [(second,)] = connection.exec_driver_sql("SELECT seq FROM events").fetchall()

    assert second > first


@pytest.mark.sqlite
def test_the_command_makes_a_database_from_nothing(tmp_path: Path) -> None:
    database = tmp_path / "deep" / "down" / "tracker.db"

    made = run("service", "db", "upgrade", database=f"sqlite:///{database}")

    assert made.returncode == 0, made.stderr
    assert str(migrating.head()) in made.stdout
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            (migrating.head(),)
        ]
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


@pytest.mark.thorough
def test_developers_can_use_alembic_itself(database: str) -> None:
    made = run("alembic", "upgrade", "head", database=database)
    checked = run("alembic", "check", database=database)

    assert made.returncode == 0, made.stderr
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "arguments",
    [("db", "upgrade"), ("get", "x"), ("mcp",), ("serve", "--port", "0")],
    ids=" ".join,
)
def test_a_database_of_a_newer_version_is_told_in_one_clear_line(
    engine: Engine, database: str, arguments: tuple[str, ...]
) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    refused = luma_tracker(*arguments, database=database)

    assert refused.returncode == 1, refused.stderr
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert "9999" in last
    assert "newer" in last
    left = execute(database, "SELECT version_num FROM alembic_version")
    assert left == [("9999",)], "it is left as it was"


def test_looking_at_a_database_of_a_newer_version_says_so(engine: Engine, database: str) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    checked = luma_tracker("db", "check", database=database)
    looked = luma_tracker("db", "current", database=database)
    doctored = luma_tracker("doctor", "--json", database=database)

    assert checked.returncode == 1
    assert "9999" in checked.stdout
    assert looked.stdout == "9999\n"
    [finding] = [f for f in json.loads(doctored.stdout) if f["about"].startswith("database")]
    assert finding["level"] == "error"
    assert "9999" in finding["message"]
