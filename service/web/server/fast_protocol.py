"""HTTP as uvicorn speaks it, for answers that need neither a task nor a look at each header.

An application may know two things more than ASGI has. Any other server just calls it.

    at_once(scope) -> PreparedResponse | None          what needs no waiting
    promise(scope, body, answer) -> bool    whether it will call `answer` by and by
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from service.logs import log
from service.web.server.body import BODY
from service.web.server.prepared import PREPARED, PreparedResponse

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_AtOnce = Callable[[Scope], PreparedResponse | None]
_Promise = Callable[[Scope, bytes, Callable[[PreparedResponse], None]], bool]

_EXTENSIONS: dict[str, object] = {PREPARED: {}}


class FastProtocol(HttpToolsProtocol):
    """Asks the application for what it knows more before it begins a task for the request."""

    running: RequestResponseCycle | None = None
    """The request whose turn it is; with pipelining others may have been read after it."""

    @property
    def is_answering(self) -> bool:
        """Whether a request that was read has not been answered."""
        return self.running is not None and not self.running.response_complete

    def on_message_begin(self) -> None:
        """Another request on the same connection."""
        super().on_message_begin()
        self.scope["extensions"] = _EXTENSIONS  # type: ignore[typeddict-item]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        """Answer without a task, if that can be, else begin one.

        But read first what there is of this request, and what others have sent: whoever waits for
        an answer on this machine has to be woken, which is quicker for many in a row.
        """
        self.running = cycle
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

    def _at_once(
        self, cycle: RequestResponseCycle, app: "ASGI3Application"
    ) -> PreparedResponse | None:
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


async def _run(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call the application, tell it of a body that is whole, and let it send what is whole."""
    if not cycle.more_body:
        scope["extensions"] = {**_EXTENSIONS, BODY: bytes(cycle.body)}

    async def sent(message: Message) -> None:
        if message["type"] != PREPARED:
            await send(message)
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        _write(cycle, PreparedResponse(message["status"], message["headers"], message["body"]))

    await app(scope, receive, sent)


def _write(cycle: RequestResponseCycle, whole: PreparedResponse) -> None:
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
