"""An ASGI application on a real socket, spoken to by our own protocol."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from service.web.server.protocol import LimitedProtocol
from tests.waiting import until


def _server(app: ASGIApp, protocol: type[LimitedProtocol]) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return uvicorn.Server(config)


def _listening() -> socket.socket:
    """On a free port; what is accepted sends at once, as uvloop has it and asyncio here has not."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def served(app: ASGIApp, protocol: type[LimitedProtocol] = LimitedProtocol) -> Iterator[str]:
    """Its URL; it runs in a thread."""
    server = _server(app, protocol)
    with _listening() as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


@asynccontextmanager
async def served_here(app: ASGIApp) -> AsyncIterator[str]:
    """The same on this event loop, for what lives on it."""
    server = _server(app, LimitedProtocol)
    with _listening() as listener:
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.to_thread(until, lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await asyncio.wait_for(serving, 10)
