"""HTTP as uvicorn speaks it, for clients that take their time or say too much before the body."""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from service.logs import log
from service.web.body import BODY
from service.web.headers import secure
from service.web.problems import problem
from service.web.whole import WHOLE, Whole

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_HEAD = 64 * 1024  # bytes of request line and headers
MAX_TIME = 10.0  # seconds for them to come


_AtOnce = Callable[[Scope], Whole | None]
_Promise = Callable[[Scope, bytes, Callable[[Whole], None]], bool]

_EXTENSIONS: dict[str, object] = {WHOLE: {}}
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def _without_upgrade(data: bytes) -> bytes:
    """We offer no other protocol; but the parser would take the body for one, so hide the offer."""
    if b"\nupgrade:" not in data.lower():
        return data
    head, end, body = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\r\nX-pgrade:", head) + end + body


async def _run(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call the application, tell it of a body that is whole, and let it send what is whole."""
    if not cycle.more_body:
        scope["extensions"] = {**_EXTENSIONS, BODY: bytes(cycle.body)}

    async def sent(message: Message) -> None:
        if message["type"] != WHOLE:
            await send(message)
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        _write(cycle, Whole(message["status"], message["headers"], message["body"]))

    await app(scope, receive, sent)


def _write(cycle: RequestResponseCycle, whole: Whole) -> None:
    if cycle.disconnected:
        return
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    parts = [STATUS_LINE[whole.status]]
    for name, value in (*cycle.default_headers, *whole.headers):
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    if cycle.scope["method"] != "HEAD":
        parts.append(whole.body)
    cycle.transport.write(b"".join(parts))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


class CarefulProtocol(HttpToolsProtocol):
    """Closes a connection whose request head grows or dawdles without end."""

    _watch: asyncio.TimerHandle | None = None
    _head_began: float | None = None
    _in_body = False
    _before_head = 0
    _received = 0
    _chunk = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request should begin soon."""
        super().connection_made(transport)
        self._await_head()
        self._look_at_the_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing left to wait for."""
        if self._watch:
            self._watch.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Another request on the same connection."""
        super().on_message_begin()
        self.scope["extensions"] = _EXTENSIONS  # type: ignore[typeddict-item]
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is here, and the body is the route's business."""
        self._head_began = None
        self._in_body = True
        at_most = self._received - self._before_head + self._chunk
        if at_most > MAX_HEAD and self._head_size() > MAX_HEAD:
            raise ValueError("The request's headers are too large.")  # which refuses it
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes now is another head."""
        self._in_body = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes, of a head or of a body."""
        self._chunk = len(data)
        self._received += self._chunk
        super().data_received(data if self._in_body else _without_upgrade(data))
        awaited = self._head_began is not None
        if awaited and self._received - self._before_head > MAX_HEAD + len(data):
            self.send_400_response("The request's headers are too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, as every other error is told."""
        if self.transport.is_closing():
            return
        refusal = problem(400, msg, headers={"Connection": "close"})
        secure(MutableHeaders(raw=refusal.raw_headers))
        lines = [b": ".join(header) for header in refusal.raw_headers]
        head = b"\r\n".join([b"HTTP/1.1 400 Bad Request", *lines, b"", b""])
        self.transport.write(head + bytes(refusal.body))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        """Answer without a task, if that can be, else begin one.

        But read first what there is of this request, and what others have sent: whoever waits for
        an answer on this machine has to be woken, which is quicker for many in a row.
        """
        if cycle.scope["method"] == "POST":
            self.loop.call_soon(self._begin, cycle, app)
        elif whole := self._at_once(cycle, app):
            self.loop.call_soon(_write, cycle, whole)
        else:
            self._call(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if cycle.more_body or not self._promised(cycle, app):
            self._call(cycle, app)

    def _call(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        super()._start_asgi_task(cycle, partial(_run, cast("ASGIApp", app), cycle))

    def _at_once(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> Whole | None:
        """What the application answers without waiting, if it knows how, and we may write."""
        ask: _AtOnce | None = getattr(self.config.app, "at_once", None)
        if ask is None or app is not self.app or self.flow.write_paused:
            return None
        try:
            return ask(cast("Scope", cycle.scope))
        except Exception as error:  # noqa: BLE001 - it may yet be answered by the call
            log.error("not answered at once", exc_info=error)
            return None

    def _promised(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> bool:
        """Whether the application will answer by and by, if it knows how, and we may write."""
        ask: _Promise | None = getattr(self.config.app, "promise", None)
        if ask is None or app is not self.app or self.flow.write_paused:
            return False
        try:
            return ask(cast("Scope", cycle.scope), bytes(cycle.body), partial(_write, cycle))
        except Exception as error:  # noqa: BLE001 - it may yet be answered by the call
            log.error("nothing promised", exc_info=error)
            return False

    def _await_head(self) -> None:
        self._head_began = self.loop.time()
        self._before_head = self._received

    def _look_at_the_clock(self) -> None:
        """One timer for a connection, for one for each request costs more than reading it."""
        now = self.loop.time()
        due = (now if self._head_began is None else self._head_began) + MAX_TIME
        if due <= now:
            self.send_400_response("The request is too slow.")
        else:
            self._watch = self.loop.call_at(due, self._look_at_the_clock)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
