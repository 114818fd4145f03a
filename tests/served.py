"""An ASGI application on a real socket, spoken to by our own protocol."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from service.web.protocol import CarefulProtocol
from tests.waiting import until


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Its URL."""
    config = uvicorn.Config(
        app, http=CarefulProtocol, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)
