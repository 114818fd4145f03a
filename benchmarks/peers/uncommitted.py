"""Our own application, which answers each callback as soon as it has read it: nothing is stored.

What is left is what a callback costs besides being kept.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from benchmarks.peers.serving import serve
from service.app import create_app
from service.config import Settings, load_settings
from service.generation import Outcome
from service.observe import Receipt
from service.tokens import Grant

_TAKEN = Receipt(delivery_id="none", outcome=Outcome.APPLIED)


class Careless:
    """A tracker that forgets what it is told."""

    async def receive(self, _body: bytes, _grant: Grant) -> Receipt:
        """Say that it was taken in."""
        return _TAKEN


def make(settings: Settings) -> FastAPI:
    """The application, with another tracker."""
    app = create_app(settings)
    opened = app.router.lifespan_context

    @asynccontextmanager
    async def careless(app: FastAPI) -> AsyncIterator[None]:
        async with opened(app):
            app.state.tracker = Careless()
            yield

    app.router.lifespan_context = careless
    return app


if __name__ == "__main__":
    serve(make(load_settings()))
