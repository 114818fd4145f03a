"""Serves MCP to one client on stdin and stdout."""

import asyncio
import sys

from service.bootstrap import open_tracker
from service.config import Settings
from service.logs import configure
from service.mcp_server import serve_stdio

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
    async with open_tracker(settings) as tracker:
        await serve_stdio(tracker)
