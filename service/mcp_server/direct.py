"""Ordinary requests over HTTP: told from the others, handed to the SDK's kernel, answered.

What the two eras share is here, what they differ in is in `Era` and its two kinds. Each does
what the SDK's transport of that era does with such a request, and nothing else.
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
from starlette.types import Scope

_logger = logging.getLogger(__name__)

_METHODS = ["initialize", "ping", "server/discover", "tools/call", "tools/list"]
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})
_JSON = "application/json"
_DECLARED = "mcp-param-"  # headers that repeat arguments: none of our tools wants any

Headers = Mapping[str, str]
Reply = JSONRPCResponse | JSONRPCError


class Era(Protocol):
    """What differs between the ways of 2025 and 2026."""

    def parse(self, body: bytes) -> Any:
        """The body's JSON.

        Raises:
            ValueError: it is none.
        """

    def connection(self, asked: dict[str, Any], headers: Headers) -> Connection | None:
        """What the kernel is to know of the caller; None if there is anything to refuse."""

    def error(self, error: Exception) -> ErrorData:
        """How what a tool raised is told."""

    def response(self, reply: Reply) -> Response:
        """The HTTP response."""


class Handshake:
    """The versions up to 2025-11-25, whose `initialize` a stateless server need not remember."""

    def parse(self, body: bytes) -> Any:
        """The body's JSON."""
        return pydantic_core.from_json(body)

    def connection(self, asked: dict[str, Any], headers: Headers) -> Connection | None:
        """Whoever it is: one that has shaken hands."""
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
        return Connection.from_envelope(version, None, None)

    def error(self, error: Exception) -> ErrorData:
        """The SDK's pinned answer, 0, where it is none of the protocol's own errors."""
        if (known := handler_exception_to_error_data(error)) is not None:
            return known
        _logger.error("a request to MCP failed", exc_info=error)
        return ErrorData(code=0, message=str(error))

    def response(self, reply: Reply) -> Response:
        """Always 200."""
        content = reply.model_dump_json(by_alias=True, exclude_unset=True)
        return Response(content, headers={"Content-Type": _JSON})


class Modern:
    """2026-07-28: every request says for itself who asks, in which version, and for what."""

    def parse(self, body: bytes) -> Any:
        """The body's JSON."""
        return json.loads(body)

    def connection(self, asked: dict[str, Any], headers: Headers) -> Connection | None:
        """As the request's envelope has it, if that agrees with the headers."""
        route = classify_inbound_request(asked, headers=headers)
        if not isinstance(route, InboundModernRoute):
            return None
        return Connection.from_envelope(
            route.protocol_version, route.client_info, route.client_capabilities
        )

    def error(self, error: Exception) -> ErrorData:
        """The SDK's, which logs what is none of the protocol's own errors."""
        return modern_error_data(error)

    def response(self, reply: Reply) -> Response:
        """With the HTTP status that belongs to an error's code."""
        status = 200
        if isinstance(reply, JSONRPCError):
            status = ERROR_CODE_HTTP_STATUS.get(reply.error.code, status)
        content = reply.model_dump(mode="json", by_alias=True, exclude_none=True)
        return Response(json.dumps(content, separators=(",", ":")), status, media_type=_JSON)


_HANDSHAKE, _MODERN = Handshake(), Modern()


@dataclass(slots=True)
class OneAnswer:
    """What the kernel is told of the way back: it is one JSON body, and nothing before it."""

    transport: TransportContext
    request_id: RequestId
    message_metadata: ServerMessageMetadata
    can_send_request: bool = False

    @property
    def cancel_requested(self) -> anyio.Event:
        """Nobody can ask for that."""
        return anyio.Event()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: object = None
    ) -> dict[str, Any]:
        """Ask the client something: it could not answer."""
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: object = None
    ) -> None:
        """Tell the client something: there is no room for it."""

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell it how far we are: the same."""


class DirectRequests:
    """Answers ordinary requests, and only those."""

    def __init__(self, server: Server[dict[str, Any]]) -> None:
        self._server = server

    async def answer(self, scope: Scope, body: bytes) -> Response | None:
        """The response; None if the request is the SDK's business."""
        headers = _plain(scope)
        if headers is None:
            return None
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_NEGOTIATED_VERSION)
        era: Era = _HANDSHAKE if version in HANDSHAKE_PROTOCOL_VERSIONS else _MODERN
        try:
            asked = era.parse(body)
        except (ValueError, RecursionError):
            return None
        if not _is_ordinary(asked) or (connection := era.connection(asked, headers)) is None:
            return None
        return era.response(await self._reply(era, asked, connection, Request(scope)))

    async def _reply(
        self, era: Era, asked: dict[str, Any], connection: Connection, request: Request
    ) -> Reply:
        way_back = OneAnswer(
            TransportContext(kind="streamable-http", can_send_request=False),
            asked["id"],
            ServerMessageMetadata(request_context=request, can_send_request=False),
        )
        try:
            result = await serve_one(
                self._server,
                way_back,
                asked["method"],
                asked.get("params"),
                connection=connection,
                lifespan_state={},
            )
        except Exception as error:  # noqa: BLE001 - the SDK tells the caller of every one, too
            return JSONRPCError(jsonrpc="2.0", id=asked["id"], error=era.error(error))
        return JSONRPCResponse(jsonrpc="2.0", id=asked["id"], result=result)


def _plain(scope: Scope) -> Headers | None:
    """The headers by name, if there is nothing in them that the SDK might refuse or look into."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    accepted = headers.get("accept", "").split(",")
    if (
        len(headers) == len(scope["headers"])
        and headers.get("content-type", "").partition(";")[0] == _JSON
        and any(kind.strip() in (_JSON, "*/*") for kind in accepted)
        and not any(name.startswith(_DECLARED) for name in headers)
    ):
        return headers
    return None


def _is_ordinary(asked: Any) -> bool:
    """Whether it is one request as the protocol describes it, for something we have."""
    return (
        isinstance(asked, dict)
        and asked.keys() <= _MEMBERS
        and asked.get("jsonrpc") == "2.0"
        and type(asked.get("id")) in (int, str)
        and asked.get("method") in _METHODS
        and isinstance(asked.get("params", {}), dict)
    )
