"""The MCP server, the same for every transport: lists and calls the tools, reads the resources."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service import __version__
from service.errors import TrackerError
from service.mcp_server import resources
from service.mcp_server.refusals import ReadOnly
from service.mcp_server.subscriptions import ConnectionUpdates, ResourceUpdates
from service.mcp_server.tool import REPORT_EVERY, Call, Caller, Json, Progress, failure
from service.mcp_server.tools import TOOLS
from service.tracking.gateway import Gateway
from service.tracking.tracker import Tracker

INSTRUCTIONS = (
    "Creates, looks up and waits for Luma generations: videos and images, which take seconds to "
    "minutes. create_generation, generate_image, upscale_generation and add_audio cost credits and "
    "answer at once; then call wait_for_generation until `timed_out` is false. All other tools are "
    "free. The resource luma://guide says which model to choose and what it costs. To find an id, "
    "call list_generations."
)

Context = ServerRequestContext[dict[str, Any], Request]
CallerOf = Callable[[Request | None], Caller]
"""Returns who sent a request; None: the only client of a connection."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the server works on."""

    tracker: Tracker
    gateway: Gateway
    updates: ResourceUpdates
    caller_of: CallerOf
    report_every: float = REPORT_EVERY
    """Seconds between reports of progress."""


def make_server(
    service: Service, connection: ConnectionUpdates | None = None
) -> Server[dict[str, Any]]:
    """Build the MCP server.

    Args:
        service: what it works on.
        connection: the subscriptions of the only client; None: connections do not last.
    """
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
    _add_tools(server, service)
    _add_resources(server, service)
    if connection:
        add = server.add_request_handler
        add("resources/subscribe", SubscribeRequestParams, connection.subscribe)
        add("resources/unsubscribe", UnsubscribeRequestParams, connection.unsubscribe)
    return server


def _add_tools(server: Server[dict[str, Any]], service: Service) -> None:
    listed = {may_write: _listed(may_write=may_write) for may_write in (False, True)}

    async def list_tools(context: Context, _page: PaginatedRequestParams | None) -> Json:
        return listed[service.caller_of(context.request).may_write]

    async def call_tool(context: Context, params: CallToolRequestParams) -> Json:
        return await _call(service, context, params)

    server.add_request_handler("tools/list", PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)


def _listed(*, may_write: bool) -> Json:
    tools = [tool.definition for tool in TOOLS.values() if may_write or not tool.writes]
    return _dumped(ListToolsResult(tools=tools))


async def _call(service: Service, context: Context, params: CallToolRequestParams) -> Json:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
    arguments = params.arguments or {}
    caller = service.caller_of(context.request)
    asked = context.meta is not None and "progress_token" in context.meta
    progress = context.session.report_progress if asked else None
    try:
        if tool.writes and not caller.may_write:
            raise ReadOnly
        return await tool.call(_made(service, caller, arguments, progress))
    except (TrackerError, ValidationError) as error:
        generation_id = str(arguments.get("generation_id", "without an id"))[:128]
        return failure(tool.action.format(generation_id=generation_id), error)


def _made(service: Service, caller: Caller, arguments: Json, progress: Progress | None) -> Call:
    tracker, gateway = service.tracker, service.gateway
    return Call(tracker, gateway, caller, arguments, progress, service.report_every)


def _add_resources(server: Server[dict[str, Any]], service: Service) -> None:
    listed = _dumped(ListResourcesResult(resources=resources.RESOURCES))
    templates = _dumped(ListResourceTemplatesResult(resource_templates=resources.TEMPLATES))

    async def list_resources(_context: object, _page: PaginatedRequestParams | None) -> Json:
        return listed

    async def list_templates(_context: object, _page: PaginatedRequestParams | None) -> Json:
        return templates

    async def read(_context: object, params: ReadResourceRequestParams) -> ReadResourceResult:
        return await resources.read(service.tracker, params.uri)

    add = server.add_request_handler
    add("resources/list", PaginatedRequestParams, list_resources)
    add("resources/templates/list", PaginatedRequestParams, list_templates)
    add("resources/read", ReadResourceRequestParams, read)
    add("subscriptions/listen", SubscriptionsListenRequestParams, service.updates.listen)


def _dumped(result: BaseModel) -> Json:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)
