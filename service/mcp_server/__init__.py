"""The MCP surface: the tools that agents call, over HTTP and over stdio.

http_transport   `/mcp`: passes plain requests to `direct`, all others to the SDK
direct           answers plain requests by the SDK's `serve_one`, without its transport
stdio_transport  stdin and stdout: the SDK, with faster reads and writes
server           the MCP server: lists and calls the tools
tools            the tools

HTTP   web/mcp.py ─► http_transport ─┬─ plain ─► direct ─► serve_one ─┐
                                     └─ other ─► the SDK ─────────────┼─► server ─► tools
stdio  stdio_transport ─► the SDK ────────────────────────────────────┘
"""

from service.mcp_server.http_transport import HttpTransport
from service.mcp_server.server import make_server
from service.mcp_server.stdio_transport import serve_stdio

__all__ = ["HttpTransport", "make_server", "serve_stdio"]
