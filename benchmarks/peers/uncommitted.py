"""Our own application, with the commit left out: what a callback said is folded, and forgotten.

What is missing against ours is that the pages are written and on disk before the answer.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import Connection

from benchmarks.peers.serving import serve
from service.app import create_app
from service.config import Settings, load_settings
from service.errors import Forbidden
from service.storage.engine import Database, open_database
from service.tracking.callback_tokens import Grant
from service.tracking.callbacks import Callback, Receipt, receive
from service.tracking.tracker import utc_now


class Careless:
    """A tracker that forgets its deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.deliveries = self

    def receive(self, body: bytes, grant: Grant) -> asyncio.Future[Receipt]:
        """Take it in, but for the commit."""
        return self._database.submit(_undone, Callback(body, grant, utc_now()))


def _undone(connection: Connection, callbacks: Sequence[Callback]) -> list[Receipt | Forbidden]:
    receipts = receive(connection, callbacks)
    connection.exec_driver_sql("ROLLBACK")
    connection.exec_driver_sql("BEGIN")  # which is what is committed: nothing
    return receipts


def make(settings: Settings) -> FastAPI:
    """The application, with another tracker."""
    app = create_app(settings)
    opened = app.router.lifespan_context

    @asynccontextmanager
    async def careless(app: FastAPI) -> AsyncIterator[None]:
        async with opened(app), open_database(settings.database_url) as database:
            app.state.tracker = Careless(database)
            yield

    app.router.lifespan_context = careless
    return app


if __name__ == "__main__":
    serve(make(load_settings()))
