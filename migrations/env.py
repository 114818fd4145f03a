"""Alembic's entry: on the connection that we were given, or on the configured database."""

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

import service.tables  # noqa: F401 - registers the tables
from service.config import load_settings
from service.db import make_engine


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    engine = make_engine(load_settings().database_url)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        _run(connection)
