"""uvicorn's HTTP protocol, with a hook for responses that need no task.

An application may have one method in addition to ASGI:

    respond(scope, body, send) -> bool

It returns whether the application takes the request. If so, it calls `send` once, immediately or
later, with a `PreparedResponse`. `body` is complete; for a GET it is empty. If it returns False, or
on any other server, the application is called as usual and must send the same response.
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
    """Calls `respond` of the application before it starts a task for the request."""

    running: RequestResponseCycle | None = None
    """The request that is being answered; with pipelining, later ones may be read already."""

    @property
    def is_responding(self) -> bool:
        """Whether the response to the running request is incomplete."""
        return self.running is not None and not self.running.response_complete

    def on_message_begin(self) -> None:
        """Start a request; offer the extensions in its scope."""
        super().on_message_begin()
        self.scope["extensions"] = _EXTENSIONS  # type: ignore[typeddict-item]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        """Answer without a task if possible, else start one.

        For a POST, all received bytes are parsed first, so that its body may be complete.
        """
        self.running = cycle
        if cycle.scope["method"] == "POST":
            self.loop.call_soon(self._start, cycle, app)
        else:
            self._start(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if not self._respond(cycle, app):
            super()._start_asgi_task(cycle, partial(_run, cast("ASGIApp", app), cycle))

    def _respond(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> bool:
        """Call `respond`, and return whether the application takes the request.

        `respond` is not called if uvicorn answers in place of the application, if the body is
        incomplete, or if the client does not read what is written.
        """
        respond: Respond | None = getattr(self.config.app, "respond", None)
        is_complete = not cycle.more_body or cycle.scope["method"] == "GET"
        if respond is None or app is not self.app or self.flow.write_paused or not is_complete:
            return False
        try:
            send = partial(self._write_soon, cycle)
            return respond(cast("Scope", cycle.scope), bytes(cycle.body), send)
        except Exception as error:  # noqa: BLE001 - the application is called next
            log.error("fast_path_failed", exc_info=error)
            return False

    def _write_soon(self, cycle: RequestResponseCycle, response: PreparedResponse) -> None:
        """Write after all received bytes are read.

        Clients on this machine must be woken for each response: faster for many in a row.
        """
        self.loop.call_soon(_write, cycle, response)


async def _run(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call the application with the extensions: a complete body, and prepared responses."""
    if not cycle.more_body:
        scope["extensions"] = {**_EXTENSIONS, BODY: bytes(cycle.body)}

    async def send_any(message: Message) -> None:
        if message["type"] != PREPARED:
            await send(message)
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        _write(cycle, PreparedResponse(message["status"], message["headers"], message["body"]))

    await app(scope, receive, send_any)


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
