"""The entry point of Alembic: migrates a given connection, or the configured database."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

import service.storage.tables  # noqa: F401 - registers the tables
from service.bootstrap import at_database
from service.config import load_settings


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
    asyncio.run(at_database(load_settings(), _run))
