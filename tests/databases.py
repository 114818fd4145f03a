"""The databases that tests run on: a file each, or with `--database postgres` one on a server.

All tests that touch a database run on both. `url_in` gives the same database for the same
folder, so that whoever shares a folder shares a store.
"""

import atexit
import hashlib
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine

from service.db.sqlite import make_engine
from tests.postgres import Server, serving

CHOSEN = "TEST_DATABASE"
"""The variable that says which kind; set by the option, and so known in every worker."""


def on_postgres() -> bool:
    """Whether this run is on PostgreSQL."""
    return os.environ.get(CHOSEN) == "postgres"


@cache
def server() -> Server:
    """The server of this process, for as long as it lives."""
    running = serving()
    started = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    return started


@cache
def url_in(folder: Path) -> str:
    """An empty database, in that folder or of its own on the server."""
    if not on_postgres():
        return f"sqlite:///{folder / 'tracker.db'}"
    name = f"t{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}"
    server().execute(f"CREATE DATABASE {name}")
    return server().url(name)


def engine_for(url: str) -> Engine:
    """A way to its tables that does not go through the service's own."""
    if url.startswith("sqlite"):
        return make_engine(url)
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def execute(url: str, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
    """Run a statement past our own code, `?` standing for values; answers its rows."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=10)) as file, file:
            return file.execute(statement, values).fetchall()
    with psycopg.connect(url) as connection:
        done = connection.execute(statement.replace("?", "%s").encode(), values)
        return done.fetchall() if done.description else []
