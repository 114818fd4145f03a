"""HTTP as uvicorn speaks it, with one hook for answers that need no task.

An application may have one method more than ASGI asks for:

    respond(scope, body, send) -> bool

It says whether the application takes the request, and then calls `send` once, with a
`PreparedResponse`, now or later. `body` is whole; of a GET it is empty. If the answer is False, or
if any other server is used, the application is called as usual and answers the same.
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

SendPrepared = Callable[[PreparedResponse], None]
Respond = Callable[[Scope, bytes, SendPrepared], bool]

_EXTENSIONS: dict[str, object] = {PREPARED: {}}


class FastProtocol(HttpToolsProtocol):
    """Asks the application for an answer before it begins a task for the request."""

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

        The body of a POST is parsed first, as far as it has come.
        """
        self.running = cycle
        if cycle.scope["method"] == "POST":
            self.loop.call_soon(self._begin, cycle, app)
        else:
            self._begin(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if not self._takes(cycle, app):
            super()._start_asgi_task(cycle, partial(_run, cast("ASGIApp", app), cycle))

    def _takes(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> bool:
        """Whether the application answers by `respond`, if it has that, and we may write.

        Behind uvicorn's own look at proxies it is another application, which has it not.
        """
        respond: Respond | None = getattr(self.config.app, "respond", None)
        has_come = not cycle.more_body or cycle.scope["method"] == "GET"
        if respond is None or app is not self.app or self.flow.write_paused or not has_come:
            return False
        try:
            send = partial(self._write_soon, cycle)
            return respond(cast("Scope", cycle.scope), bytes(cycle.body), send)
        except Exception as error:  # noqa: BLE001 - the call may yet answer it
            log.error("fast_path_failed", exc_info=error)
            return False

    def _write_soon(self, cycle: RequestResponseCycle, response: PreparedResponse) -> None:
        """Write when all that has come is read.

        Whoever waits for an answer on this machine has to be woken: quicker for many in a row.
        """
        self.loop.call_soon(_write, cycle, response)


async def _run(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call the application, hand it a body that is whole, and let it send what is prepared."""
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


def _write(cycle: RequestResponseCycle, response: PreparedResponse) -> None:
    if cycle.disconnected:
        return
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    parts = [STATUS_LINE[response.status]]
    for name, value in (*cycle.default_headers, *response.headers):
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    if cycle.scope["method"] != "HEAD":
        parts.append(response.body)
    cycle.transport.write(b"".join(parts))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
