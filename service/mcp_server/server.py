"""The MCP server, the same for every transport: lists and calls the tools."""

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
    "Looks up Luma generations: videos and images, which take seconds to minutes. Calls are "
    "answered from a local store and cost no credits. To wait for a generation, call "
    "get_generation again every few seconds until `terminal` is true. To find an id, call "
    "list_generations."
)


def make_server(tracker: Tracker) -> Server[dict[str, Any]]:
    """Build the MCP server of a tracker."""
    listed = ListToolsResult(tools=[tool.definition for tool in TOOLS.values()])
    tools = listed.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def list_tools(_context: object, _page: PaginatedRequestParams | None) -> dict[str, Any]:
        return tools

    async def call_tool(_context: object, params: CallToolRequestParams) -> dict[str, Any]:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        arguments = params.arguments or {}
        try:
            return await tool.call(tracker, arguments)
        except (TrackerError, ValidationError) as error:
            generation_id = str(arguments.get("generation_id", "without an id"))[:128]
            return failure(tool.action.format(generation_id=generation_id), error)

    server: Server[dict[str, Any]] = Server(
        "luma-tracker",
        version=__version__,
        title="Luma tracker",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: (
            TOOLS[name].definition.input_schema if name in TOOLS else None
        ),
    )
    server.middleware.clear()  # OpenTelemetry: unused, and as expensive as a lookup
    server.add_request_handler("tools/list", PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)
    return server
