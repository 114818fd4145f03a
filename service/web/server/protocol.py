"""HTTP as uvicorn speaks it, within limits of size, number and time.

What comes is parsed as it is: no byte of it is changed. It is parsed in pieces, so that nothing
large is made of it before a limit is looked at.
"""

import asyncio
import math
from enum import Enum, auto
from typing import ClassVar

import httptools
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.metrics import REFUSALS
from service.web.problems import problem
from service.web.security_headers import secure
from service.web.server.connections import ConnectionLimiter
from service.web.server.fast_protocol import FastProtocol
from service.web.server.limits import ConnectionLimits


class _Phase(Enum):
    """What the client has to send next."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class LimitedProtocol(FastProtocol):
    """Ends connections on which too much comes, or too little happens."""

    limits: ClassVar = ConnectionLimits()
    room: ClassVar = ConnectionLimiter(limits)

    _opened_at = 0.0
    _phase = _Phase.IDLE
    _since: float | None = None
    """When a look at the clock first found the phase begun."""
    _unparsed: bytes | memoryview = b""
    _overhead = 0
    """Bytes that came since a head began, or since the last byte of a body."""
    _body_left: int | None = None
    """Bytes of the last body on a connection, if the parser does not read it."""
    _refusal: Response | None = None
    """What is to be said when everything before it is answered."""
    _ending = False
    """Whether nothing that comes will be looked at."""
    _take_by = math.inf
    """When the client must have taken what is written."""
    _untaken_since: float | None = None
    """Since when it has not taken enough of it."""
    _look: asyncio.TimerHandle | None = None

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request should begin soon."""
        super().connection_made(transport)
        self._opened_at = self.loop.time()
        self.ws_protocol_class = None
        self.headers = []
        self._look_later()
        if not self.room.make(self, self.connections):
            self._refuse(503, "There are too many connections.")

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing left to wait for."""
        if self._look:
            self._look.cancel()
        self._ending = True
        self._tell_gone()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than we write."""
        super().pause_writing()
        size = self.transport.get_write_buffer_size()
        allowed = self.limits.answer_seconds + size / self.limits.answer_rate
        self._untaken_since = self.loop.time()
        self._take_by = self._untaken_since + allowed

    def resume_writing(self) -> None:
        """It has taken most of it."""
        super().resume_writing()
        self._take_by, self._untaken_since = math.inf, None

    def on_response_complete(self) -> None:
        """Go on with what was sent meanwhile."""
        is_last, we_paused = not self.pipeline, self.flow.read_paused
        super().on_response_complete()
        if is_last and self._refusal:
            self._say(self._refusal)
            return
        if we_paused or self._phase is _Phase.IDLE:
            self._since = None  # the client's time begins now
        if self._unparsed:
            self._parse()

    # --- what comes ---

    def data_received(self, data: bytes) -> None:
        """Parse it, unless enough is waiting already."""
        if self._ending:
            return
        self._unset_keepalive_if_required()
        if self._unparsed or self.pipeline or len(data) > self.limits.piece:
            self._unparsed = b"".join((self._unparsed, data))
            self._parse()
        else:
            self._feed(data)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._overhead = 0
        self._phase, self._since = _Phase.HEAD, None

    def on_headers_complete(self) -> None:
        """A whole head: begin to answer."""
        if len(self.headers) > self.limits.fields:
            raise ValueError("too many fields")
        body_left = self._length_after_upgrade() if self.parser.should_upgrade() else None
        super().on_headers_complete()
        self._body_left = body_left
        self._overhead = 0
        self._phase, self._since = _Phase.BODY, None
        self.headers = []  # what comes as trailers is nobody's business
        if body_left is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request, unless the parser left its body to us."""
        if not self._body_left:
            self._phase, self._since = _Phase.IDLE, None
            super().on_message_complete()

    def _parse(self) -> None:
        """Parse piece by piece, until enough requests wait."""
        size, rest = self.limits.piece, memoryview(self._unparsed)
        while rest and not self._ending and len(self.pipeline) < self.limits.pipelined:
            piece, rest = rest[:size], rest[size:]
            self._feed(piece)
        self._unparsed = b"" if self._ending else rest
        if self._unparsed:
            self.flow.pause_reading()

    def _feed(self, piece: bytes | memoryview) -> None:
        self._overhead += len(piece)
        try:
            if self._body_left is None:
                self.parser.feed_data(piece)
            else:
                self._read_body(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_body(piece[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "What came is no request of HTTP/1.1.")
        if self._overhead > self.limits.head or len(self.headers) > self.limits.fields:
            self._refuse(431, "The request's headers are too large.")

    # --- a request that offers another protocol ---

    def _length_after_upgrade(self) -> int:
        """How long the body is. We do not take the offer, which declines it (RFC 9110, 7.8).

        The parser reads nothing behind such a head. So the body is counted off here, and nothing
        behind it is looked at: what nobody interprets cannot be smuggled.
        """
        fields = dict(self.headers)
        if self.parser.get_method() == b"CONNECT" or b"transfer-encoding" in fields:
            raise ValueError("no tunnels, and no body without a length")
        return int(fields.get(b"content-length", 0))

    def _read_body(self, data: bytes | memoryview) -> None:
        left = self._body_left or 0
        taken = bytes(data[:left])
        self._body_left = left - len(taken)
        if taken:
            self.on_body(taken)
        self._ending = not self._body_left
        if taken and self._ending:
            self.on_message_complete()

    # --- what is refused ---

    def _refuse(self, status: int, detail: str) -> None:
        """Look at nothing more, and say why when what was asked before is answered."""
        if self._ending:
            return
        REFUSALS.labels(str(status)).inc()
        self._ending = True
        self.flow.pause_reading()
        broken = self.cycle if self._phase is _Phase.BODY else None
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        refusal = problem(status, detail, headers={"Connection": "close"})
        if self.is_answering and self.running is not broken:
            self._refusal = refusal
        elif broken and broken.response_started:
            self._end()
        else:
            self._say(refusal)

    def _say(self, refusal: Response) -> None:
        secure(MutableHeaders(raw=refusal.raw_headers))
        lines = [b": ".join(header) for header in refusal.raw_headers]
        first = STATUS_LINE[refusal.status_code]
        self.transport.write(first + b"\r\n".join([*lines, b"", b""]) + bytes(refusal.body))
        self._end()

    def _end(self) -> None:
        self._tell_gone()
        self.transport.close()

    def _tell_gone(self) -> None:
        """Whoever still answers learns that nobody will read it; uvicorn tells but the last."""
        if self.running:
            self.running.disconnected = True
            self.running.message_event.set()

    # --- the clock ---

    @property
    def awaited_since(self) -> float | None:
        """Since when we have waited for the client; None while it waits for us."""
        if self._untaken_since is not None:
            return self._untaken_since
        if self.pipeline or self._unparsed:
            return self._opened_at  # it does not wait for one answer before it asks for the next
        in_body = self._phase is _Phase.BODY and self.running is self.cycle
        if self._waits_for_us() or (self.is_answering and not in_body):
            return None
        return self._since or self.loop.time()

    def _look_later(self) -> None:
        self._look = self.loop.call_later(self.limits.look_seconds, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        """One timer for a connection: one for each request costs more than reading it."""
        now = self.loop.time()
        self._since = self._since or now
        if self.transport.is_closing():
            self._take_by = min(self._take_by, now + self.limits.answer_seconds)
        elif self._is_late(now - self._since):
            self._end_late()
        if now > self._take_by:
            self.transport.abort()
        self._look_later()

    def _waits_for_us(self) -> bool:
        return self._ending or self.flow.read_paused or self.transport.is_closing()

    def _is_late(self, seconds: float) -> bool:
        if self._waits_for_us() or (self._phase is _Phase.IDLE and self.is_answering):
            return False
        in_body = self._phase is _Phase.BODY
        return seconds > (self.limits.body_seconds if in_body else self.limits.head_seconds)

    def _end_late(self) -> None:
        if self._phase is _Phase.IDLE:
            self.transport.close()
        else:
            self._refuse(408, "The request did not come whole in time.")
