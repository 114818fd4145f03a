"""Middleware before both APIs that records every request."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT = 10_000
"""Number of requests that are kept, the last ones; all are counted."""
BODY_KEPT = 65_536
"""Bytes of each request's body that are kept, the first ones."""


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """One request that the simulator received. Equality ignores its headers and its body."""

    method: str
    path: str
    """The complete path with its prefix, without the query."""
    status: int | None = None
    """Status of the answer; None: not answered yet, or the connection was dropped."""
    query: str = ""
    headers: Headers = field(default_factory=Headers, compare=False)
    """As they arrived; names are case-insensitive, and `getlist` returns repeated ones."""
    body: bytes = field(default=b"", compare=False)
    """What was read of the body, up to `BODY_KEPT` bytes."""


class Traffic:
    """ASGI middleware. Its properties may be read from any thread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._counts: Counter[tuple[str, str]] = Counter()
        self._seen: dict[int, RequestSeen] = {}
        self._next = 0

    @property
    def requests(self) -> list[RequestSeen]:
        """The last `KEPT` requests in order of arrival."""
        return list(self._seen.values())

    def count(self, method: str | None, path: str) -> int:
        """Count all requests with `method` (None: any) whose path contains `path`."""
        counts = dict(self._counts)  # a copy, made in one step: the loop's thread adds to it
        return sum(
            number
            for (seen_method, seen_path), number in counts.items()
            if method in (None, seen_method) and path in seen_path
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = self._record(scope)

        async def recording_receive() -> Message:
            message = await receive()
            self._add_body(number, message.get("body", b""))
            return message

        async def recording_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._update(number, status=message["status"])
                date = (b"date", formatdate(usegmt=True).encode())
                message = {**message, "headers": [*message["headers"], date]}
            await send(message)

        with suppress(ClientDisconnect):  # an upload that was broken off is no error of ours
            await self._app(scope, recording_receive, recording_send)

    def _record(self, scope: Scope) -> int:
        """Record and count the request, forget the oldest one, and return its number."""
        method, path, query = scope["method"], scope["path"], scope["query_string"].decode()
        number = self._next
        self._next += 1
        self._counts[method, path] += 1
        self._seen[number] = RequestSeen(
            method, path, query=query, headers=Headers(raw=list(scope["headers"]))
        )
        self._seen.pop(number - KEPT, None)
        return number

    def _add_body(self, number: int, part: bytes) -> None:
        seen = self._seen.get(number)
        if seen is not None and part and len(seen.body) < BODY_KEPT:
            self._update(number, body=(seen.body + part)[:BODY_KEPT])

    def _update(self, number: int, *, status: int | None = None, body: bytes | None = None) -> None:
        """Add what is known now to the request, if it is still kept."""
        seen = self._seen.get(number)
        if seen is None:
            return
        self._seen[number] = replace(
            seen,
            status=seen.status if status is None else status,
            body=seen.body if body is None else body,
        )
