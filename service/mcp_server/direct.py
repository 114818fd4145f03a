"""Answers plain MCP requests over HTTP without the SDK's transport.

A plain request is a single JSON-RPC request for a known method, with usual headers. What differs
between the protocol versions is in `ProtocolVersion` and its two implementations. Each does exactly
what the SDK's transport of that version does with such a request.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import pydantic_core
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import modern_error_data, serve_one
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundModernRoute,
    classify_inbound_request,
)
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    DEFAULT_NEGOTIATED_VERSION,
    ErrorData,
    JSONRPCError,
    JSONRPCResponse,
    RequestId,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from service.mcp_server.leaving import unless_gone
from service.mcp_server.waits import accepts_stream, wait_of

_logger = logging.getLogger(__name__)

_METHODS = ["initialize", "ping", "server/discover", "tools/call", "tools/list"]
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})
_JSON = "application/json"
_CLIENT_LEFT = 499  # nobody reads it
_PARAMETER_HEADER = "mcp-param-"  # repeats an argument; none of our tools requires one

Headers = Mapping[str, str]
Reply = JSONRPCResponse | JSONRPCError


class ProtocolVersion(Protocol):
    """What differs between the protocol versions of 2025 and 2026."""

    def parse(self, body: bytes) -> Any:
        """Parse the body as JSON.

        Raises:
            ValueError: it is no valid JSON.
        """

    def connection(self, request: dict[str, Any], headers: Headers) -> Connection | None:
        """Return what `serve_one` needs to know of the client; None if the SDK must answer."""

    def error(self, error: Exception) -> ErrorData:
        """Describe an exception that a tool raised."""

    def response(self, reply: Reply) -> Response:
        """Build the HTTP response."""


class Version2025:
    """Versions up to 2025-11-25; a stateless server need not remember their `initialize`."""

    def parse(self, body: bytes) -> Any:
        """Parse the body as JSON."""
        return pydantic_core.from_json(body)

    def connection(self, request: dict[str, Any], headers: Headers) -> Connection | None:
        """Take the client for initialized, whoever it is."""
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
        return Connection.from_envelope(version, None, None)

    def error(self, error: Exception) -> ErrorData:
        """Use code 0, as the SDK does, for any exception that is no error of the protocol."""
        if (known := handler_exception_to_error_data(error)) is not None:
            return known
        _logger.error("an MCP request failed", exc_info=error)
        return ErrorData(code=0, message=str(error))

    def response(self, reply: Reply) -> Response:
        """Build the response, always with status 200."""
        content = reply.model_dump_json(by_alias=True, exclude_unset=True)
        return Response(content, headers={"Content-Type": _JSON})


class Version2026:
    """Version 2026-07-28: every request carries client, version and capabilities itself."""

    def parse(self, body: bytes) -> Any:
        """Parse the body as JSON."""
        return json.loads(body)

    def connection(self, request: dict[str, Any], headers: Headers) -> Connection | None:
        """Take the client from the request, if that agrees with the headers."""
        route = classify_inbound_request(request, headers=headers)
        if not isinstance(route, InboundModernRoute):
            return None
        return Connection.from_envelope(
            route.protocol_version, route.client_info, route.client_capabilities
        )

    def error(self, error: Exception) -> ErrorData:
        """Use the SDK's description, which logs any exception that is no error of the protocol."""
        return modern_error_data(error)

    def response(self, reply: Reply) -> Response:
        """Build the response, with the HTTP status of the error code."""
        status = 200
        if isinstance(reply, JSONRPCError):
            status = ERROR_CODE_HTTP_STATUS.get(reply.error.code, status)
        content = reply.model_dump(mode="json", by_alias=True, exclude_none=True)
        return Response(json.dumps(content, separators=(",", ":")), status, media_type=_JSON)


_VERSION_2025, _VERSION_2026 = Version2025(), Version2026()


@dataclass(slots=True)
class SingleResponse:
    """The channel back to the client, for `serve_one`: one JSON body, and nothing before it."""

    transport: TransportContext
    request_id: RequestId
    message_metadata: ServerMessageMetadata
    can_send_request: bool = False

    @property
    def cancel_requested(self) -> anyio.Event:
        """Return an event that is never set: a client cannot cancel a request."""
        return anyio.Event()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: object = None
    ) -> dict[str, Any]:
        """Refuse: a client cannot answer requests of the server."""
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: object = None
    ) -> None:
        """Drop a notification: the response has no room for it."""

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Drop a progress notification."""


class DirectRequests:
    """Answers plain requests, and no others."""

    def __init__(self, server: Server[dict[str, Any]]) -> None:
        self._server = server

    async def answer(self, scope: Scope, body: bytes, receive: Receive) -> Response | None:
        """Return the response; None if the SDK must answer.

        Args:
            scope: of the request.
            body: complete.
            receive: reports that the client has left, which ends a wait.
        """
        headers = _plain_headers(scope)
        if headers is None:
            return None
        protocol = _version(headers)
        request = _plain_request(protocol, body)
        connection = protocol.connection(request, headers) if request else None
        if request is None or connection is None:
            return None
        wait = wait_of(request)
        if wait and wait.wants_progress and accepts_stream(scope):
            return None
        replying = self._reply(protocol, request, connection, Request(scope))
        reply = await (unless_gone(receive, replying) if wait else replying)
        return protocol.response(reply) if reply else Response(status_code=_CLIENT_LEFT)

    async def _reply(
        self,
        protocol: ProtocolVersion,
        request: dict[str, Any],
        connection: Connection,
        http_request: Request,
    ) -> Reply:
        channel = SingleResponse(
            TransportContext(kind="streamable-http", can_send_request=False),
            request["id"],
            ServerMessageMetadata(request_context=http_request, can_send_request=False),
        )
        try:
            result = await serve_one(
                self._server,
                channel,
                request["method"],
                request.get("params"),
                connection=connection,
                lifespan_state={},
            )
        except Exception as error:  # noqa: BLE001 - the SDK reports every one to the client, too
            return JSONRPCError(jsonrpc="2.0", id=request["id"], error=protocol.error(error))
        return JSONRPCResponse(jsonrpc="2.0", id=request["id"], result=result)


def _plain_headers(scope: Scope) -> Headers | None:
    """Return the headers by name; None if the SDK might refuse or interpret one of them."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    accepted = headers.get("accept", "").split(",")
    if (
        len(headers) == len(scope["headers"])
        and headers.get("content-type", "").partition(";")[0] == _JSON
        and any(kind.strip() in (_JSON, "*/*") for kind in accepted)
        and not any(name.startswith(_PARAMETER_HEADER) for name in headers)
    ):
        return headers
    return None


def _version(headers: Headers) -> ProtocolVersion:
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
    return _VERSION_2025 if version in HANDSHAKE_PROTOCOL_VERSIONS else _VERSION_2026


def _plain_request(protocol: ProtocolVersion, body: bytes) -> dict[str, Any] | None:
    try:
        request = protocol.parse(body)
    except (ValueError, RecursionError):
        return None
    return request if _is_plain(request) else None


def _is_plain(request: Any) -> bool:
    """Return whether a JSON value is one well-formed request for a known method."""
    return (
        isinstance(request, dict)
        and request.keys() <= _MEMBERS
        and request.get("jsonrpc") == "2.0"
        and type(request.get("id")) in (int, str)
        and request.get("method") in _METHODS
        and isinstance(request.get("params", {}), dict)
    )
