"""Middleware before both APIs that applies faults."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.simulator.faults import Fault, Faults


class FaultInjection:
    """ASGI middleware; requests without a fault pass.

    Args:
        app: the application that processes requests.
        faults: the pending faults.
        deliver: waits until the callbacks in progress are delivered or have failed.
    """

    def __init__(
        self, app: ASGIApp, faults: Faults, deliver: Callable[[], Awaitable[None]]
    ) -> None:
        self._app = app
        self._faults = faults
        self._deliver = deliver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        fault = self._faults.take(scope["method"], scope["path"], query)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay or 0)
        answer = _Answer(send, fault.drop_after, scope["state"]["close"])
        if fault.replaces:
            await self._replace(fault, scope, _Request(receive), answer.send)
        else:
            await self._app(scope, receive, self._late(fault, answer.send))
        if answer.cut:
            await _wait_for_disconnect(receive)

    async def _replace(self, fault: Fault, scope: Scope, request: "_Request", send: Send) -> None:
        if fault.processed:
            await self._app(scope, request.receive, _discard)
            await self._deliver()
        if not fault.unread:
            await request.read_rest()
        await asyncio.sleep(fault.answer_delay or 0)
        if fault.drop:
            await _drop(scope, request.receive)
        else:
            await _answer(fault, send)

    def _late(self, fault: Fault, send: Send) -> Send:
        """Return a `send` that waits before the answer starts, if the fault says so."""

        async def late(message: Message) -> None:
            if message["type"] == "http.response.start" and fault.answer_delay is not None:
                await self._deliver()
                await asyncio.sleep(fault.answer_delay)
            await send(message)

        return late


class _Request:
    """A request's messages; it knows whether the body has been read, so it never waits in vain."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = not message.get("more_body", False)
        return message

    async def read_rest(self) -> None:
        """Read the body to its end, or until the caller disconnects."""
        while not self._ended:
            await self.receive()


class _Answer:
    """An answer's messages; the connection is closed after `left` bytes of its body (None: not)."""

    def __init__(self, send: Send, left: int | None, close: Callable[[], None]) -> None:
        self.cut = False
        self._send = send
        self._left = left
        self._close = close

    async def send(self, message: Message) -> None:
        body = message.get("body", b"")
        if self.cut:
            return
        if self._left is None or message["type"] != "http.response.body" or len(body) < self._left:
            self._left = None if self._left is None else self._left - len(body)
            await self._send(message)
            return
        self.cut = True
        await self._send({**message, "body": body[: self._left], "more_body": True})
        self._close()


async def _discard(_message: Message) -> None:
    """Send nothing."""


async def _answer(fault: Fault, send: Send) -> None:
    status, headers, body = fault.answer()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drop(scope: Scope, receive: Receive) -> None:
    """Close the connection without sending anything; otherwise the server would answer 500."""
    scope["state"]["drop"]()
    await _wait_for_disconnect(receive)


async def _wait_for_disconnect(receive: Receive) -> None:
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
