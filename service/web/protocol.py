"""HTTP as uvicorn speaks it, for clients that take their time or say too much before the body."""

import asyncio
import re

from starlette.datastructures import MutableHeaders

from service.web.headers import secure
from service.web.problems import problem
from service.web.quick import QuickProtocol

MAX_HEAD = 64 * 1024  # bytes of request line and headers
MAX_TIME = 10.0  # seconds for them to come


_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def _without_upgrade(data: bytes) -> bytes:
    """We offer no other protocol; but the parser would take the body for one, so hide the offer."""
    if b"\nupgrade:" not in data.lower():
        return data
    head, end, body = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\r\nX-pgrade:", head) + end + body


class CarefulProtocol(QuickProtocol):
    """Closes a connection whose request head grows or dawdles without end."""

    _watch: asyncio.TimerHandle | None = None
    _head_began: float | None = None
    _in_body = False
    _before_head = 0
    _received = 0
    _chunk = 0
    _first_chunk = 0

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
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is here, and the body is the route's business."""
        self._head_began = None
        self._in_body = True
        at_most = self._received - self._before_head + self._first_chunk
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

    def _await_head(self) -> None:
        self._head_began = self.loop.time()
        self._before_head = self._received
        self._first_chunk = self._chunk  # somewhere in there it begins

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
