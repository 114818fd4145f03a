"""A server on loopback that starts and stops without delay.

It uses uvicorn's HTTP protocol, but not its `Server`, which polls, handles signals and
logs like the service's own server. Of uvicorn's log, only errors of the simulator are kept.
"""

import asyncio
import logging
import socket
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
    """One client's connection.

    The application can end it: `scope["state"]["drop"]` at once, `scope["state"]["close"]` after
    what it has sent.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.logger, self.access_log = _logger, False
        self.app_state = {"drop": transport.abort, "close": transport.close}


def bind() -> socket.socket:
    """Return a socket on a free port of 127.0.0.1; connections to it wait until it is served."""
    # asyncio sends small writes at once only on sockets that name their protocol; otherwise every
    # answer in two pieces would take 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve `app` inside the context, and close the socket at its end."""
    config = uvicorn.Config(
        app, interface="asgi3", lifespan="off", ws="none", proxy_headers=False, log_config=None
    )
    config.load()
    state = ServerState()
    state.default_headers = config.encoded_headers

    def connect() -> Connection:
        return Connection(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(connect, sock=listener)
    try:
        yield
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
