"""The short way for what comes most: lookups by id, lists that did not change, tools, callbacks.

Pure ASGI, in front of everything. It takes only plain questions that can be answered at once,
and sends the bytes that the route would; whatever is unusual goes the ordinary way:

    POST /callbacks/…        ─► web/callbacks.py, which looks at the token alone
    GET /v1/generations/{id} ─► plain, welcome? ─► known at once? ─► sent
    POST /mcp                ─► plain, welcome? ───────┼─────────► web/mcp.py
                                      └── no ──────────┴── no ───► guards ─► the route
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.callbacks import PATH as CALLBACKS
from service.web.headers import SECURE
from service.web.shown import response_of
from service.web.visitors import Visitors, is_direct
from service.web.whole import Whole, send_whole

_LIST = "/v1/generations"
_MCP = "/mcp"
_ONE = f"{_LIST}/"
_CHANGES_THE_ANSWER = frozenset({b"origin", b"cache-control", b"prefer"})
_MOST_LISTS = 64
_LARGEST_LIST = 262_144  # bytes

_Key = tuple[bytes, bytes]
"""What a list depends on: the query, and what is accepted."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A list as it was answered, while the tracker was at that version."""

    version: int
    whole: Whole


class Hot:
    """Answers at once what can be, and passes the rest on.

    Args:
        callbacks: takes them in, whoever brings them.
        mcp: answers `/mcp`, where everybody who is welcome may ask.
        state: of the application; has the tracker as soon as it runs.
        visitors: who is welcome.
    """

    def __init__(
        self, app: ASGIApp, *, callbacks: ASGIApp, mcp: ASGIApp, state: State, visitors: Visitors
    ) -> None:
        self._app = app
        self._callbacks = callbacks
        self._mcp = mcp
        self._state = state
        self._visitors = visitors
        self._unusual = _CHANGES_THE_ANSWER | visitors.suspect
        self._lists: OrderedDict[_Key, _Kept] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].startswith(CALLBACKS):
            await self._callbacks(scope, receive, send)
        elif whole := self._known(scope):
            await send_whole(scope, send, whole)
        elif _asks_for_list(scope) and (plain := self._plain(scope)):
            await self._list(_key(scope, plain), scope, receive, send)
        else:
            asks_mcp = scope["path"] == _MCP and self._plain(scope)
            await (self._mcp if asks_mcp else self._app)(scope, receive, send)

    def at_once(self, scope: Scope) -> Whole | None:
        """The answer, if nobody has to wait for it.

        For a server that asks this before it begins a task for the request. It has not looked
        yet for whom a proxy speaks, so what a proxy passed on is not answered here.
        """
        return self._known(scope) if is_direct(dict(scope["headers"])) else None

    def _known(self, scope: Scope) -> Whole | None:
        if scope["method"] == "GET" and scope["path"].startswith(_ONE):
            return self._one(scope, scope["path"][len(_ONE) :])
        return self._listed(scope) if _asks_for_list(scope) else None

    def _one(self, scope: Scope, generation_id: str) -> Whole | None:
        if scope["query_string"] or not (plain := self._plain(scope)):
            return None
        answer = self._state.tracker.known(generation_id)
        if answer is None:
            return None
        tag = plain.get(b"if-none-match")
        whole = response_of(answer, tag.decode("latin-1") if tag else None)
        whole.headers.extend(SECURE)
        return whole

    def _listed(self, scope: Scope) -> Whole | None:
        """A list as it was answered last time, if nothing has changed since."""
        plain = self._plain(scope)
        kept = self._lists.get(_key(scope, plain)) if plain else None
        return kept.whole if kept and kept.version == self._state.tracker.version else None

    def _plain(self, scope: Scope) -> dict[bytes, bytes] | None:
        """The headers, if none is unusual or came twice, and the visitor is welcome."""
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]) or not self._unusual.isdisjoint(headers):
            return None
        address = (scope.get("client") or ("",))[0]
        authorization, host = headers.get(b"authorization", b""), headers.get(b"host", b"")
        return headers if self._visitors.welcomes(address, authorization, host) else None

    async def _list(self, key: _Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and keep what is answered."""
        version = self._state.tracker.version
        messages: list[Message] = []

        async def recorded(message: Message) -> None:
            messages.append(message)
            await send(message)

        await self._app(scope, receive, recorded)
        if version is not None and _is_list(messages):
            start, whole = messages
            self._keep(key, _Kept(version, Whole(200, start["headers"], whole["body"])))

    def _keep(self, key: _Key, kept: _Kept) -> None:
        self._lists[key] = kept
        self._lists.move_to_end(key)
        while len(self._lists) > _MOST_LISTS:
            self._lists.popitem(last=False)


def _asks_for_list(scope: Scope) -> bool:
    return bool(scope["path"] == _LIST and scope["method"] == "GET")


def _key(scope: Scope, plain: Mapping[bytes, bytes]) -> _Key:
    return scope["query_string"], plain.get(b"accept", b"")


def _is_list(messages: list[Message]) -> bool:
    """Whether this is a whole list, and not an error or something endless."""
    whole = len(messages) == 2 and not messages[1].get("more_body", False)
    return whole and messages[0]["status"] == 200 and len(messages[1]["body"]) <= _LARGEST_LIST
