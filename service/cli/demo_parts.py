"""The parts of the demo besides the simulator: the service, and a program that is called back."""

import asyncio
import base64
import os
import re
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.simulator import Luma
from service.simulator.server import bind
from service.simulator.server import serving as answering

KEY = "demo"  # the simulator accepts any
_START = 60.0  # seconds; far longer than it takes


class Service(NamedTuple):
    """The service, which runs in a process of its own."""

    url: str
    webhook_secret: str


class Callback(NamedTuple):
    """One callback whose signature is right."""

    id: str
    body: str


@dataclass
class Receiver:
    """A program that receives callbacks, and accepts only signed ones."""

    url: str
    secret: str
    completed: asyncio.Queue[Callback] = field(default_factory=asyncio.Queue)

    async def receive(self, request: Request) -> Response:
        """Verify a callback as every receiver should."""
        body = await request.body()
        told = Webhook(self.secret).verify(body, dict(request.headers))
        if told["state"] == "completed":
            self.completed.put_nowait(Callback(request.headers["webhook-id"], body.decode()))
        return Response(status_code=204)


@asynccontextmanager
async def receiving(secret: str) -> AsyncIterator[Receiver]:
    """Run the receiver inside the context."""
    listener = bind()
    receiver = Receiver(f"{_url_of(listener)}/callback", secret)
    app = Starlette(routes=[Route("/callback", receiver.receive, methods=["POST"])])
    async with answering(app, listener):
        yield receiver


@asynccontextmanager
async def serving(luma: Luma, folder: Path) -> AsyncIterator[Service]:
    """Run the service inside the context, on a free port."""
    webhook_secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    with bind() as listener:
        url = _url_of(listener)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "serve", "--fd", str(listener.fileno())),
            env=_environment(luma, folder, url, webhook_secret),
            cwd=folder,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends that one
        )
        try:
            await asyncio.wait_for(_listening(process), _START)
            yield Service(url, webhook_secret)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


def _environment(luma: Luma, folder: Path, url: str, webhook_secret: str) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRACKER_", "LUMA"))
    }
    return {
        **inherited,
        "LUMAAI_API_KEY": KEY,
        "LUMA_AGENTS_API_KEY": KEY,
        "TRACKER_DREAM_MACHINE_URL": luma.dream_machine_url,
        "TRACKER_AGENTS_URL": luma.agents_url,
        "TRACKER_DATABASE_URL": f"sqlite:///{folder / 'tracker.db'}",
        "TRACKER_PUBLIC_URL": url,
        "TRACKER_WEBHOOK_SECRET": webhook_secret,
        "TRACKER_WEBHOOK_ALLOW": "127.0.0.0/8",
    }


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}"


async def _listening(process: asyncio.subprocess.Process) -> None:
    """Wait until the service logs that it listens."""
    logged = b""
    assert process.stderr is not None  # noqa: S101 - stderr is a pipe
    async for line in process.stderr:
        logged += line
        if re.search(rb"listening url=", line):
            return
    raise RuntimeError(f"The service did not start:\n{logged.decode()}")
