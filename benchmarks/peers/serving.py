"""Runs a peer as `luma-tracker serve` runs the service, so that nothing but the app differs."""

import socket
import sys
from typing import Any

import uvicorn

from service.web.server.protocol import LimitedProtocol

_BACKLOG = 2048


def serve(app: Any) -> None:
    """Run on a free port of 127.0.0.1, which is said as the service says it, until a signal."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(_BACKLOG)
    config = uvicorn.Config(
        app, http=LimitedProtocol, access_log=False, log_config=None, server_header=False
    )
    host, port = listener.getsockname()
    print(f"listening url=http://{host}:{port}", file=sys.stderr, flush=True)
    uvicorn.Server(config).run(sockets=[listener])
