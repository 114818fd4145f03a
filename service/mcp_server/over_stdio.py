"""MCP over stdin and stdout, for one client."""

from mcp.server.stdio import stdio_server

from service.mcp_server.server import make_server
from service.tracker import Tracker


async def serve_stdio(tracker: Tracker) -> None:
    """Serve one client on stdin and stdout, until it leaves."""
    server = make_server(tracker)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
