"""The fast path for the most frequent requests: lookups by id, lists, MCP tools, callbacks.

Pure ASGI, in front of all middleware. It answers only plain requests for stored data, with the same
bytes as the route would send. A request is plain if it may be read by the client and has no header
that could change the response. All other requests take the normal path:

    POST /callbacks/…        ─► web/callbacks.py, which checks only the token in the path
    GET /v1/generations/{id} ─► plain? ─► stored, and Luma need not be asked? ─► sent
    GET /…/v1/generations/{id}, of the gateway: the same
    GET /v1/generations      ─► plain? ─► parameters valid, and JSON wanted? ──► sent
    POST /mcp                ─► plain? ─────────┼───────────────► web/mcp.py
                                  └── no ───────┴── no ─────────► guards ─► the route
"""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import TrackerError
from service.tracking.answer import Answer
from service.tracking.feeds import Format
from service.web.guards.authentication import Authenticator
from service.web.guards.slow_log import log_if_slow
from service.web.luma_errors import GATEWAYS, enveloped
from service.web.problems import of_error
from service.web.responses import lists
from service.web.responses.generation import luma_response_of, response_of
from service.web.responses.negotiation import format_of
from service.web.security_headers import SECURE
from service.web.server.fast_protocol import SendPrepared
from service.web.server.prepared import PreparedResponse, send_prepared

CALLBACKS, _MCP = "/callbacks/", "/mcp"
_LOOKUP_PREFIXES: Sequence[tuple[str, str | None]] = [
    (f"{lists.PATH}/", None),
    *((f"{prefix}generations/", upstream) for prefix, upstream in GATEWAYS.items()),
]
_HEADERS_THAT_CHANGE_THE_RESPONSE = frozenset({b"origin", b"cache-control", b"prefer"})


_OTHER_PATHS = (".", "..")
"""Usable ids; but in a path that is passed on they would address another resource."""


class Lookup(NamedTuple):
    """A lookup by id."""

    id: str
    upstream: str | None
    """The API in whose form to answer; None: as `/v1` does."""


class Receiver(Protocol):
    """Receives callbacks, in a task or without one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a callback, as an ASGI application."""

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Take a complete callback, if possible, and call `send` when it is on disk.

        Returns:
            Whether it was taken; else call the application.
        """


class FastPath:
    """ASGI middleware that answers plain requests, and passes all others on.

    Args:
        app: answers all other requests.
        callbacks: receives callbacks, without any other check.
        mcp: answers `/mcp` for clients that may read.
        state: of the application; has `tracker` while the application runs.
        authenticator: decides who may read.
        slow_after: seconds after which a request is logged as slow.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        callbacks: Receiver,
        mcp: ASGIApp,
        state: State,
        authenticator: Authenticator,
        slow_after: float,
    ) -> None:
        self._app = app
        self.callbacks = callbacks
        self._mcp = mcp
        self._state = state
        self._authenticator = authenticator
        self._slow_after = slow_after
        self._excluded_headers = _HEADERS_THAT_CHANGE_THE_RESPONSE | authenticator.headers_to_check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or call the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].startswith(CALLBACKS):
            await self.callbacks(scope, receive, send)
        elif _is_read(scope) and (response := await self._answer(scope, receive)):
            await send_prepared(scope, send, response)
        else:
            is_plain_mcp = scope["path"] == _MCP and self._plain_headers(scope)
            await (self._mcp if is_plain_mcp else self._app)(scope, receive, send)

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Answer without a task, if possible: callbacks, and lookups of current rows.

        Returns:
            Whether `send` was called, or will be; else call the application.
        """
        if scope["method"] == "POST":
            is_callback: bool = scope["path"].startswith(CALLBACKS)
            return is_callback and self.callbacks.respond(scope, body, send)
        lookup = _lookup_in(scope)
        headers = self._plain_headers(scope) if lookup else None
        if not (lookup and headers):
            return False
        answer = self._state.tracker.lookup_nowait(lookup.id, luma=lookup.upstream is not None)
        response = answer and self._response(lookup, answer, headers)
        if response:
            send(response)
        return response is not None

    async def _answer(self, scope: Scope, receive: Receive) -> PreparedResponse | None:
        """Answer a plain lookup or list from the store; None for any other request."""
        headers, started = self._plain_headers(scope), time.monotonic()
        if headers is None:
            return None
        try:
            if lookup := _lookup_in(scope):
                luma = lookup.upstream is not None
                answer = await self._state.tracker.lookup_stored(lookup.id, luma=luma)
                response = answer and self._response(lookup, answer, headers)
            else:
                response = await self._list(scope, headers, receive)
        except TrackerError as error:
            response = PreparedResponse.of(enveloped(scope["path"], of_error(error)))
        if response:
            log_if_slow(scope, response.status, time.monotonic() - started, self._slow_after)
        return response

    def _response(
        self, lookup: Lookup, answer: Answer, headers: Mapping[bytes, bytes]
    ) -> PreparedResponse | None:
        """Build the response to a lookup; None if the gateway must find out more."""
        if lookup.upstream is None:
            return _lookup_response(answer, headers)
        found = answer.representation
        if found.upstream != lookup.upstream or not found.luma_body:
            return None
        if not self._state.gateway.has_key_for(lookup.upstream):
            return None
        response = luma_response_of(answer)
        response.headers.extend(SECURE)
        return response

    async def _list(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> PreparedResponse | None:
        request = lists.parse_request(scope["query_string"])
        if request is None or not _is_json(request, headers):
            return None
        response = await lists.answer(self._state.tracker, request, receive)
        response.headers.extend(SECURE)
        return response

    def _plain_headers(self, scope: Scope) -> dict[bytes, bytes] | None:
        """Return the headers of a plain request, which no header excludes or repeats, else None."""
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]) or not self._excluded_headers.isdisjoint(headers):
            return None
        authorization, host = headers.get(b"authorization", b""), headers.get(b"host", b"")
        return headers if self._authenticator.may_read(authorization, host) else None


def _is_read(scope: Scope) -> bool:
    is_list = scope["path"] == lists.PATH and scope["method"] == "GET"
    return is_list or _lookup_in(scope) is not None


def _lookup_in(scope: Scope) -> Lookup | None:
    """Return what a request looks up, if it does, by its path alone."""
    if scope["method"] != "GET" or scope["query_string"]:
        return None
    path: str = scope["path"]
    for prefix, upstream in _LOOKUP_PREFIXES:
        if path.startswith(prefix):
            lookup = Lookup(path[len(prefix) :], upstream)
            return None if upstream and lookup.id in _OTHER_PATHS else lookup
    return None


def _is_json(request: lists.ListRequest, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a list is wanted as JSON: feeds are streamed by the route."""
    accept = headers.get(b"accept", b"").decode("latin-1")
    return (request.format or format_of(accept)) is Format.JSON


def _lookup_response(answer: Answer, headers: Mapping[bytes, bytes]) -> PreparedResponse:
    tag = headers.get(b"if-none-match")
    response = response_of(answer, tag.decode("latin-1") if tag else None)
    response.headers.extend(SECURE)
    return response
