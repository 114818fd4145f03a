"""The databases that tests run on: a file each, or with `--database postgres` one on a server.

All tests that touch a database run on both. `url_in` gives the same database for the same
folder, so that whoever shares a folder shares a store. All processes of a test run share a
server, and the migrated database that others are copies of.
"""

import atexit
import hashlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, text

from service.storage.engine.sqlite_connections import make_engine
from tests.postgres import Server, in_memory, serving
from tests.single import upgrade
from tests.waiting import until

_ONE_AT_A_TIME = threading.Lock()
_MADE = set[Path]()
"""The folders that this process has made a database on the server for."""
CHOSEN = "TEST_DATABASE"
"""The variable that says which kind; set by the option, and so known in every worker."""
_PORT, _TEMPLATE = "TEST_POSTGRES_PORT", "TEST_TEMPLATE"
"""The variables that tell workers what the process that started them has made for all."""


def on_postgres() -> bool:
    """Whether this run is on PostgreSQL."""
    return os.environ.get(CHOSEN) == "postgres"


@cache
def server() -> Server:
    """The server of this test run, for as long as the process that began it lives."""
    if port := os.environ.get(_PORT):
        return Server(Path(), Path(), int(port))
    running = serving(place=in_memory())
    started = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    os.environ[_PORT] = str(started.port)
    return started


@cache
def url_in(folder: Path) -> str:
    """An empty database, in that folder or of its own on the server."""
    if on_postgres():
        return _on_server(folder, "template1")
    folder.mkdir(exist_ok=True)
    return f"sqlite:///{folder / 'tracker.db'}"


def migrated_in(folder: Path) -> str:
    """The same, migrated: a copy of one that the migrations made."""
    if on_postgres():
        return _on_server(folder, template().rpartition("/")[2])
    shutil.copy(template().removeprefix("sqlite:///"), folder / "tracker.db")
    return f"sqlite:///{folder / 'tracker.db'}"


@cache
def template() -> str:
    """The database of this test run that the migrations made."""
    if url := os.environ.get(_TEMPLATE):
        return url
    folder = Path(tempfile.mkdtemp(prefix="template-"))
    atexit.register(shutil.rmtree, folder)
    url = os.environ[_TEMPLATE] = url_in(folder)
    engine = engine_for(url)
    upgrade(engine)
    engine.dispose()
    return url


def _on_server(folder: Path, template: str) -> str:
    name = _name(folder)
    with _ONE_AT_A_TIME, suppress(psycopg.errors.DuplicateDatabase):
        server().execute(f"CREATE DATABASE {name} TEMPLATE {template} {_copying()}")
        _MADE.add(folder)
    return server().url(name)


@cache
def _copying() -> str:
    """How to copy a database in half the time; before version 15 there is no other way."""
    return "STRATEGY file_copy" if int(server().one("SHOW server_version_num")) >= 150000 else ""


def _name(folder: Path) -> str:
    return f"t{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}"


def drop_in(folder: Path) -> None:
    """Drop what a server holds for that folder and those in it, whoever is still connected."""
    for made in [made for made in _MADE if made.is_relative_to(folder)]:
        server().execute(f"DROP DATABASE IF EXISTS {_name(made)} WITH (FORCE)")
        _MADE.remove(made)


def engine_for(url: str) -> Engine:
    """A way to its tables that does not go through the service's own."""
    if url.startswith("sqlite"):
        return make_engine(url)
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def url_of(engine: Engine) -> str:
    """Where its database is, as the service is told it."""
    return engine.url.render_as_string(hide_password=False).replace("+psycopg:", ":")


def execute(url: str, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
    """Run a statement past our own code, `?` standing for values; answers its rows."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=10)) as file, file:
            return file.execute(statement, values).fetchall()
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL lock_timeout = '30s'")
        numbered = connection.execute(_numbered(statement), values or None)
        return numbered.fetchall() if numbered.description else []


def _numbered(statement: str) -> bytes:
    """With psycopg's marks."""
    return statement.replace("%", "%%" if "?" in statement else "%").replace("?", "%s").encode()


def copy_generation(url: str, count: int) -> None:
    """Copy the only generation that there is, as often; two copies each are a minute older."""
    times = "generate_series(1, ?) AS n(n)", "ordered_at - (n / 2) * interval '1 minute'"
    if url.startswith("sqlite"):
        numbers = "SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?"
        times = (
            f"(WITH RECURSIVE n(n) AS ({numbers}) SELECT n FROM n) AS n",  # noqa: S608
            "strftime('%Y-%m-%d %H:%M:%f000', ordered_at, '-' || (n / 2) || ' minutes')",
        )
    series, at = times
    names = ", ".join(set(_columns(url)) - {"id", "ordered_at"})
    statement = f"SELECT id || '-' || n, {at}, {names} FROM {series}, generations"  # noqa: S608
    execute(url, f"INSERT INTO generations (id, ordered_at, {names}) {statement}", count)


def _columns(url: str) -> list[str]:
    sql = "SELECT column_name FROM information_schema.columns WHERE table_name = 'generations'"
    if url.startswith("sqlite"):
        sql = "SELECT name FROM pragma_table_info('generations')"
    return [name for (name,) in execute(url, sql)]


def one(url: str, statement: str, *values: object) -> Any:
    """The first value that a statement answers."""
    return execute(url, statement, *values)[0][0]


def curse(
    connection: Connection, table: str = "generations", *, on: str = "INSERT", when: str = "1 = 1"
) -> None:
    """From now on the table refuses rows, as a bug of ours might make it."""
    for statement in _CURSES[connection.dialect.name]:
        filled = statement.format(table=table, on=on, when=when, name=f"cursed_{table}")
        connection.execute(text(filled))


def lift(connection: Connection, table: str = "generations") -> None:
    """It takes them again."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP FUNCTION cursed_{table} CASCADE"))
    else:
        connection.execute(text(f"DROP TRIGGER cursed_{table}"))


_CURSES = {
    "sqlite": (
        "CREATE TRIGGER {name} BEFORE {on} ON {table} WHEN {when} "
        "BEGIN SELECT RAISE(ABORT, 'cursed'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF {when} THEN RAISE EXCEPTION 'cursed'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER {name} BEFORE {on} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
    ),
}


def destroy(url: str) -> None:
    """The database is no longer one."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        for file in path.parent.glob(f"{path.name}*"):
            with file.open("r+b") as opened:  # in place: whoever has it mapped must not die
                opened.write(b"?" * file.stat().st_size)
    else:
        server().execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


def age_missing(url: str, generation_id: str, ask: Callable[[], object]) -> None:
    """As if a minute had passed since Luma first did not know it, which asking shows."""
    known = "SELECT missing_since IS NOT NULL FROM generations WHERE id = ?"
    until(lambda: ask() and one(url, known, generation_id))
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(" ", "microseconds")[:26]
    stamp = "CAST(? AS timestamptz)" if on_postgres() else "?"
    aged = f"UPDATE generations SET missing_since = {stamp} WHERE id = ?"  # noqa: S608
    execute(url, aged, since + ("+00" if on_postgres() else ""), generation_id)


@contextmanager
def at(url: str) -> Iterator[Connection]:
    """A transaction past our own code."""
    engine = engine_for(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Somebody has begun to write, and does not end; reading goes on."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        with psycopg.connect(url) as connection:
            tables = "generations, deliveries, events, submissions, counters"
            connection.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
            yield
            connection.rollback()
