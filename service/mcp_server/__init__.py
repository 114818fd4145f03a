"""The MCP surface: the tools that agents call, over HTTP and over stdio.

HTTP   web/mcp.py ─► over_http ─┬─ ordinary requests ─► the SDK's kernel ─┐
                                └─ all else ─► the SDK ───────────────────┼─► server ─► tools
stdio  over_stdio ─► the SDK ─────────────────────────────────────────────┘
"""

from service.mcp_server.http_transport import HttpTransport
from service.mcp_server.server import make_server
from service.mcp_server.stdio_transport import serve_stdio

__all__ = ["HttpTransport", "make_server", "serve_stdio"]
