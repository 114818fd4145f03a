"""The MCP surface: the tools and resources that agents use, over HTTP and over stdio.

http_transport   `/mcp`: passes plain requests to `direct`, all others to the SDK
direct           answers plain requests by the SDK's `serve_one`, without its transport
waits, leaving   recognize a call that waits, and end it when the client leaves
stdio_transport  stdin and stdout: the SDK, with faster reads and writes
server           the MCP server: lists and calls the tools, reads the resources
resources        generations, their videos, and `guide.md`
subscriptions    updates of resources
tools            all tools, by name
reading          get, wait, list
videos, images   the tools that create
derived_videos   the tools that make a new video from a finished one
account          ping, credits, camera motions, delete
creating         sends a create the way of the gateway's creates, and describes the result
refusals         what Luma refused, and what to do then
arguments        types of arguments that several tools have
describing       a generation as text
view             `view.html`, for clients that show generations in the chat
tool, schemas    the form of tools, results and JSON schemas

HTTP   web/mcp.py ─► http_transport ─┬─ plain ─► direct ─► serve_one ─┐
                                     └─ other ─► the SDK ─────────────┼─► server ─► tools, resources
stdio  stdio_transport ─► the SDK ────────────────────────────────────┘
"""

from service.mcp_server.http_transport import HttpTransport
from service.mcp_server.server import Service, make_server
from service.mcp_server.stdio_transport import serve_stdio
from service.mcp_server.subscriptions import ResourceUpdates
from service.mcp_server.tool import Caller

__all__ = ["Caller", "HttpTransport", "ResourceUpdates", "Service", "make_server", "serve_stdio"]
