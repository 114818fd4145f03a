"""The MCP surface: the tools that agents call, over HTTP and over stdio.

Clients differ in what they show a model: on success often only the structured content, on an
error only the text. So each carries everything that is needed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from service import __version__, listing
from service.errors import TrackerError
from service.schemas import PageOut, page_body
from service.shape import GenerationOut, one_line
from service.tracker import Tracker

INSTRUCTIONS = (
    "Looks up Luma generations (videos and images that take seconds to minutes). Lookups are "
    "answered from a local store and cost nothing, so ask as often as you like; a few seconds "
    "between two questions about the same generation are enough."
)


class GetGeneration(BaseModel):
    """Which generation."""

    model_config = ConfigDict(extra="forbid")

    generation_id: str = Field(description="The id that Luma gave the generation.")


class ListGenerations(BaseModel):
    """Which generations."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=listing.MAX_LIMIT, description="How many at most.")] = 10
    offset: Annotated[int, Field(ge=0, le=100_000, description="How many to skip.")] = 0
    state: Annotated[
        list[str],
        Field(
            max_length=listing.MOST_VALUES,
            description="Only these: queued, dreaming, processing, completed, failed.",
        ),
    ] = []
    q: Annotated[str, Field(max_length=500, description="Words of prompt, id or failure.")] = ""
    cursor: Annotated[
        str, Field(max_length=1000, description="next_cursor of the page before.")
    ] = ""


async def _get(tracker: Tracker, arguments: dict[str, Any]) -> CallToolResult:
    generation_id = GetGeneration.model_validate(arguments).generation_id
    answer = await tracker.lookup(generation_id)
    shape = answer.shown.document()
    return _result("\n".join(_lines(shape, answer.age)), shape)


async def _list(tracker: Tracker, arguments: dict[str, Any]) -> CallToolResult:
    asked = ListGenerations.model_validate(arguments)
    page = await tracker.page(
        listing.Query(
            limit=asked.limit,
            offset=asked.offset,
            state=tuple(asked.state),
            q=asked.q,
            cursor=asked.cursor or None,
        )
    )
    lines = [
        one_line(" · ".join(filter(None, (g.id, g.state, g.operation, g.prompt))))
        for g in page.items
    ]
    lines = [f"Generations: {len(page.items)}", *lines]
    if page.next_cursor:
        lines.append(f"More: call again with cursor {page.next_cursor}")
    return _result("\n".join(lines), from_json(page_body(page)))


def _lines(shape: dict[str, Any], age: timedelta) -> list[str]:
    """The answer in the words that agents know from the usual tool."""
    assets, failed = shape["assets"], shape["state"] == "failed"
    said = {
        "Generation ID": shape["id"],
        "State": shape["state"],
        "Reason": (shape["failure_reason"] or "not told") if failed else None,
        "Type": shape["operation"],
        "Model": shape["model"],
        "Prompt": shape["prompt"],
        "Video URL": assets["video"],
        "Image URL": assets["image"],
        "Progress video URL": assets["progress_video"],
        "Last heard from Luma": f"{age.total_seconds():.0f} s ago",
    }
    lines = [f"{name}: {one_line(value)}" for name, value in said.items() if value]
    if not shape["terminal"]:
        lines.append("It is not finished; ask again in a few seconds.")
    return lines


def _result(text: str, shape: dict[str, Any]) -> CallToolResult:
    content = [TextContent(type="text", text=text)]
    return CallToolResult(content=content, structured_content=shape)


def _failure(doing: str, error: TrackerError | ValidationError) -> CallToolResult:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}. Correct the arguments."
    else:
        told = f"{error} {error.hint}"
    text = TextContent(type="text", text=one_line(f"Error {doing}: {told}"))
    return CallToolResult(content=[text], is_error=True)


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """The page's schema with its items written out; many clients do not follow `$ref`."""
    items = schema.pop("$defs")["GenerationOut"]
    schema["properties"]["items"]["items"] = items
    return schema


@dataclass(frozen=True, slots=True)
class _Tool:
    definition: Tool
    call: Callable[[Tracker, dict[str, Any]], Awaitable[CallToolResult]]
    doing: str  # how an error text begins


_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)

_TOOLS = {
    "get_generation": _Tool(
        Tool(
            name="get_generation",
            title="Get a Luma generation",
            description="State, failure reason and asset URLs of one Luma generation, by its id.",
            input_schema=GetGeneration.model_json_schema(),
            output_schema=GenerationOut.model_json_schema(mode="serialization"),
            annotations=_READS,
        ),
        _get,
        "getting generation {generation_id}",
    ),
    "list_generations": _Tool(
        Tool(
            name="list_generations",
            title="List Luma generations",
            description="The Luma generations that the tracker knows, newest first.",
            input_schema=ListGenerations.model_json_schema(),
            output_schema=_flat(PageOut.model_json_schema(mode="serialization")),
            annotations=_READS,
        ),
        _list,
        "listing generations",
    ),
}


def make_server(tracker: Tracker) -> Server[dict[str, Any]]:
    """The MCP server of one tracker."""

    async def list_tools(_context: object, _page: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[tool.definition for tool in _TOOLS.values()])

    async def call_tool(_context: object, asked: CallToolRequestParams) -> CallToolResult:
        tool = _TOOLS.get(asked.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {asked.name}")
        arguments = asked.arguments or {}
        try:
            return await tool.call(tracker, arguments)
        except (TrackerError, ValidationError) as error:
            named = str(arguments.get("generation_id", "without an id"))[:128]
            return _failure(tool.doing.format(generation_id=named), error)

    return Server(
        "luma-tracker",
        version=__version__,
        title="Luma tracker",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda name: (
            _TOOLS[name].definition.input_schema if name in _TOOLS else None
        ),
    )


def over_http(tracker: Tracker) -> StreamableHTTPSessionManager:
    """For the route /mcp: stateless, so that any worker can answer any call.

    Host and Origin are checked in front of every route, see `service.web.access`.
    """
    return StreamableHTTPSessionManager(make_server(tracker), json_response=True, stateless=True)


async def serve_stdio(tracker: Tracker) -> None:
    """Serve one client on stdin and stdout, until it leaves."""
    server = make_server(tracker)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
