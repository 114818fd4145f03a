"""A server on loopback that starts and stops without delay.

It uses uvicorn's HTTP protocol, but not its `Server`, which polls, handles signals and
logs like the service's own server. Of uvicorn's log, only errors of the simulator are kept.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState


def _is_simulator_error(record: logging.LogRecord) -> bool:
    """Ignore cancellations: requests are cancelled when the simulator stops."""
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


_logger = logging.getLogger("service.simulator.http")
_logger.setLevel(logging.ERROR)
_logger.addFilter(_is_simulator_error)


class Connection(H11Protocol):
    """One client's connection, which the application can abort with `scope["state"]["drop"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.logger, self.access_log = _logger, False
        self.app_state = {"drop": transport.abort}


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[int]:
    """Serve `app` on a free port of 127.0.0.1 inside the context; yields the port."""
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
        await _abort_connections(state)
        await server.wait_closed()


async def _abort_connections(state: ServerState) -> None:
    """Close every connection, including those that wait for a delayed answer."""
    tasks = list(state.tasks)
    for connection in list(state.connections):
        assert isinstance(connection, Connection)  # noqa: S101 - `connect` creates no others
        connection.transport.abort()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # asyncio notifies the protocols in its next iteration
