"""The short way for what comes most: lookups by id, lists, tools, callbacks.

Pure ASGI, in front of everything. It takes only plain questions about what is stored, and sends
the bytes that the route would; whatever is unusual goes the ordinary way:

    POST /callbacks/…        ─► web/callbacks.py, which looks at the token alone
    GET /v1/generations/{id} ─► plain, welcome? ─► stored, and nobody to be asked? ─► sent
    GET /v1/generations      ─► plain, welcome? ─► a list that may be asked for? ───► sent
    POST /mcp                ─► plain, welcome? ──────────┼─────────► web/mcp.py
                                      └── no ─────────────┴── no ───► guards ─► the route
"""

import time
from collections.abc import Mapping
from typing import Protocol

from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import TrackerError
from service.tracking.answer import Answer
from service.web.guards.authentication import Authenticator
from service.web.guards.slow_log import note_slow
from service.web.problems import of_error
from service.web.responses import lists
from service.web.responses.generation import response_of
from service.web.security_headers import SECURE
from service.web.server.fast_protocol import SendPrepared
from service.web.server.prepared import PreparedResponse, send_prepared

CALLBACKS, _MCP = "/callbacks/", "/mcp"
_ONE = f"{lists.PATH}/"
_CHANGES_THE_ANSWER = frozenset({b"origin", b"cache-control", b"prefer"})


class Receiver(Protocol):
    """What takes callbacks in, in a task or without one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Whether it takes one that has come whole; then it calls `send` when it is on disk."""


class FastPath:
    """Answers what it can, and passes the rest on.

    Args:
        callbacks: takes them in, whoever brings them.
        mcp: answers `/mcp`, where everybody who is welcome may ask.
        state: of the application; has the tracker as soon as it runs.
        visitors: who is welcome.
        slow_after: seconds after which an answer is noted as slow.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        callbacks: Receiver,
        mcp: ASGIApp,
        state: State,
        visitors: Authenticator,
        slow_after: float,
    ) -> None:
        self._app = app
        self.callbacks = callbacks
        self._mcp = mcp
        self._state = state
        self._visitors = visitors
        self._slow_after = slow_after
        self._unusual = _CHANGES_THE_ANSWER | visitors.suspect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].startswith(CALLBACKS):
            await self.callbacks(scope, receive, send)
        elif _reads(scope) and (whole := await self._found(scope, receive)):
            await send_prepared(scope, send, whole)
        else:
            asks_mcp = scope["path"] == _MCP and self._plain(scope)
            await (self._mcp if asks_mcp else self._app)(scope, receive, send)

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Answer what needs no task: callbacks, and lookups of what is known.

        Returns:
            Whether `send` was called, or will be; else the application is to be called.
        """
        if scope["method"] == "POST":
            is_callback: bool = scope["path"].startswith(CALLBACKS)
            return is_callback and self.callbacks.respond(scope, body, send)
        plain = self._plain(scope) if _reads_one(scope) else None
        answer = plain and self._state.tracker.lookup_nowait(_id_in(scope))
        if not (plain and answer):
            return False
        send(_shown(answer, plain))
        return True

    async def _found(self, scope: Scope, receive: Receive) -> PreparedResponse | None:
        """The answer of the database, if that is all that is asked for."""
        plain, began = self._plain(scope), time.monotonic()
        if plain is None:
            return None
        try:
            read = self._one(scope, plain) if _reads_one(scope) else self._list(scope, receive)
            whole = await read
        except TrackerError as error:
            whole = PreparedResponse.of(of_error(error))
        if whole:
            note_slow(scope, whole.status, time.monotonic() - began, self._slow_after)
        return whole

    async def _one(self, scope: Scope, plain: Mapping[bytes, bytes]) -> PreparedResponse | None:
        answer = await self._state.tracker.lookup_stored(_id_in(scope))
        return _shown(answer, plain) if answer else None

    async def _list(self, scope: Scope, receive: Receive) -> PreparedResponse | None:
        asked = lists.plainly_asked(scope["query_string"])
        if asked is None:
            return None
        whole = await lists.answer(self._state.tracker, asked, receive)
        whole.headers.extend(SECURE)
        return whole

    def _plain(self, scope: Scope) -> dict[bytes, bytes] | None:
        """The headers, if none is unusual or came twice, and the visitor is welcome."""
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]) or not self._unusual.isdisjoint(headers):
            return None
        authorization, host = headers.get(b"authorization", b""), headers.get(b"host", b"")
        return headers if self._visitors.welcomes(authorization, host) else None


def _reads(scope: Scope) -> bool:
    return _reads_one(scope) or bool(scope["path"] == lists.PATH and scope["method"] == "GET")


def _reads_one(scope: Scope) -> bool:
    plain = scope["method"] == "GET" and not scope["query_string"]
    return bool(plain and scope["path"].startswith(_ONE))


def _id_in(scope: Scope) -> str:
    generation_id: str = scope["path"][len(_ONE) :]
    return generation_id


def _shown(answer: Answer, plain: Mapping[bytes, bytes]) -> PreparedResponse:
    tag = plain.get(b"if-none-match")
    whole = response_of(answer, tag.decode("latin-1") if tag else None)
    whole.headers.extend(SECURE)
    return whole
