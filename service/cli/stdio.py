"""Serves MCP to one client on stdin and stdout."""

import asyncio
import sys

from service.bootstrap import open_parts
from service.config import Settings, callback_secrets
from service.logs import configure
from service.mcp_server import Caller, ResourceUpdates, Service, serve_stdio
from service.tracking.callback_tokens import CallbackTokens

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop


def serve(settings: Settings) -> None:
    """Run until the client closes stdin."""
    configure()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    # Only a service can receive Luma's callbacks.
    tokens = CallbackTokens(callback_secrets(settings)) if settings.public_url else None
    async with open_parts(settings, tokens=tokens) as parts:
        caller = Caller(may_write=not settings.mcp_read_only)
        updates = ResourceUpdates(parts.tracker.history)
        await serve_stdio(Service(parts.tracker, parts.gateway, updates, lambda _: caller))
