"""The server that the SDK's kernel runs, whatever the transport."""

from typing import Any

from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    ListToolsResult,
    PaginatedRequestParams,
)
from pydantic import ValidationError

from service import __version__
from service.errors import TrackerError
from service.mcp_server.tools import TOOLS, failure
from service.tracking.tracker import Tracker

INSTRUCTIONS = (
    "Looks up Luma generations (videos and images that take seconds to minutes). Lookups are "
    "answered from a local store and cost nothing, so ask as often as you like; a few seconds "
    "between two questions about the same generation are enough."
)


def make_server(tracker: Tracker) -> Server[dict[str, Any]]:
    """The MCP server of one tracker."""
    listed = ListToolsResult(tools=[tool.definition for tool in TOOLS.values()])
    catalogue = listed.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def list_tools(_context: object, _page: PaginatedRequestParams | None) -> dict[str, Any]:
        return catalogue

    async def call_tool(_context: object, asked: CallToolRequestParams) -> dict[str, Any]:
        tool = TOOLS.get(asked.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {asked.name}")
        arguments = asked.arguments or {}
        try:
            return await tool.call(tracker, arguments)
        except (TrackerError, ValidationError) as error:
            named = str(arguments.get("generation_id", "without an id"))[:128]
            return failure(tool.doing.format(generation_id=named), error)

    server: Server[dict[str, Any]] = Server(
        "luma-tracker",
        version=__version__,
        title="Luma tracker",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: (
            TOOLS[name].definition.input_schema if name in TOOLS else None
        ),
    )
    server.middleware.clear()  # OpenTelemetry's, which nobody reads; it costs as much as a lookup
    server.add_request_handler("tools/list", PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)
    return server
