"""Middleware before both APIs: records every request, and applies faults."""

import asyncio
from dataclasses import dataclass, replace
from email.utils import formatdate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.simulator.faults import Fault, Faults


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """One request that the simulator received."""

    method: str
    path: str
    """The complete path with its prefix, without the query."""
    status: int | None = None
    """Status of the answer; None: not answered yet, or the connection was dropped."""
    query: str = ""


class Traffic:
    """ASGI middleware; `requests` is in order of arrival."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.requests: list[RequestSeen] = []
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        recording = self._record(scope, send)
        fault = self._faults.take(scope["method"], scope["path"])
        if fault is not None and fault.delay is not None:
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.drop:
            await _drop(scope, receive)
        elif fault is not None and fault.answers:
            await _answer(fault, recording)
        else:
            await self._app(scope, receive, recording)

    def _record(self, scope: Scope, send: Send) -> Send:
        """Record the request, and return a `send` that adds the status of the answer."""
        seen = RequestSeen(scope["method"], scope["path"], query=scope["query_string"].decode())
        index = len(self.requests)
        self.requests.append(seen)

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.requests[index] = replace(seen, status=message["status"])
                date = (b"date", formatdate(usegmt=True).encode())
                message = {**message, "headers": [*message["headers"], date]}
            await send(message)

        return recording


async def _answer(fault: Fault, send: Send) -> None:
    status, headers, body = fault.answer()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drop(scope: Scope, receive: Receive) -> None:
    """Close the connection, and wait until the server notices; otherwise it would answer 500."""
    scope["state"]["drop"]()
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
