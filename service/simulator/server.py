"""A listening socket on loopback that opens and closes at once.

uvicorn's protocol speaks HTTP here, but its `Server` does not run it: that one polls, takes the
process's signals and logs as the service's own server does. Of what uvicorn logs only errors of
the simulator itself are let through.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState


def _is_error_of_ours(record: logging.LogRecord) -> bool:
    """Requests are cancelled when the simulator stops, and that is in order."""
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


_logger = logging.getLogger("service.simulator.http")
_logger.setLevel(logging.ERROR)
_logger.addFilter(_is_error_of_ours)


class Connection(H11Protocol):
    """One client's connection, which the application can drop by `scope["state"]["drop"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.logger, self.access_log = _logger, False
        self.app_state = {"drop": transport.abort}


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[int]:
    """Serve `app` on a free port of 127.0.0.1, which is yielded, for as long as it is entered."""
    config = uvicorn.Config(
        app, interface="asgi3", lifespan="off", ws="none", proxy_headers=False, log_config=None
    )
    config.load()
    state = ServerState()
    state.default_headers = config.encoded_headers

    def connect() -> Connection:
        return Connection(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await _hang_up(state)
        await server.wait_closed()


async def _hang_up(state: ServerState) -> None:
    """End every connection, also those that wait for a delayed answer."""
    tasks = list(state.tasks)
    for connection in list(state.connections):
        assert isinstance(connection, Connection)  # noqa: S101 - we make no others
        connection.transport.abort()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # asyncio tells the protocols in its next round
