"""uvicorn's HTTP protocol, with limits on size, number and time.

The bytes are parsed as they came, without a change. They are parsed in pieces, so that the limits
are checked before anything large is built.
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
from service.web.luma_errors import enveloped
from service.web.problems import problem
from service.web.security_headers import secure
from service.web.server.connections import ConnectionLimiter
from service.web.server.fast_protocol import FastProtocol
from service.web.server.limits import ConnectionLimits


class _Phase(Enum):
    """What the client is to send next."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class LimitedProtocol(FastProtocol):
    """Closes connections that exceed the limits of size, number or time."""

    limits: ClassVar = ConnectionLimits()
    limiter: ClassVar = ConnectionLimiter(limits)

    _opened_at = 0.0
    _phase = _Phase.IDLE
    _phase_since: float | None = None
    """When a check of the timeouts first found the phase; None until then."""
    _unparsed: bytes | memoryview = b""
    _overhead = 0
    """Bytes received since the head started, or since the last byte of a body."""
    _body_received = 0
    """Bytes of the body that the application may be reading; large ones get more time."""
    _body_left: int | None = None
    """Bytes left of a body that the parser does not read: the last one of the connection."""
    _refusal: Response | None = None
    """The error response to send after the responses to all earlier requests."""
    _ending = False
    """Whether further input is ignored."""
    _read_by = math.inf
    """When the client must have read what is written."""
    _unread_since: float | None = None
    """Since when the client has read too little of what is written; None if it keeps up."""
    _timer: asyncio.TimerHandle | None = None

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout for the first request; refuse the connection if there are too many."""
        super().connection_made(transport)
        self._opened_at = self.loop.time()
        self.ws_protocol_class = None
        self.headers = []
        self._schedule_check()
        if not self.limiter.admit(self, self.connections):
            self._refuse(503, "There are too many connections.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer, and tell the application that the client has disconnected."""
        if self._timer:
            self._timer.cancel()
        self._ending = True
        self._notify_disconnect()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timeout for a client that reads slower than the application writes."""
        super().pause_writing()
        size = self.transport.get_write_buffer_size()
        allowed = self.limits.response_seconds + size / self.limits.response_rate
        self._unread_since = self.loop.time()
        self._read_by = self._unread_since + allowed

    def resume_writing(self) -> None:
        """Cancel that timeout: the client has read most of what was written."""
        super().resume_writing()
        self._read_by, self._unread_since = math.inf, None

    def on_response_complete(self) -> None:
        """Continue with the bytes received meanwhile, or send the error response that waits."""
        is_last, we_paused = not self.pipeline, self.flow.read_paused
        super().on_response_complete()
        if is_last and self._refusal:
            self._send_refusal(self._refusal)
            return
        if we_paused or self._phase is _Phase.IDLE:
            self._phase_since = None  # restart the client's timeout
        if self._unparsed:
            self._parse()

    # --- input ---

    def data_received(self, data: bytes) -> None:
        """Parse the bytes, unless enough requests are waiting already."""
        if self._ending:
            return
        self._unset_keepalive_if_required()
        if self._unparsed or self.pipeline or len(data) > self.limits.piece:
            self._unparsed = b"".join((self._unparsed, data))
            self._parse()
        else:
            self._feed(data)

    def on_message_begin(self) -> None:
        """Start a request at its first byte."""
        super().on_message_begin()
        self._overhead = 0
        self._phase, self._phase_since = _Phase.HEAD, None

    def on_headers_complete(self) -> None:
        """Start to answer a request whose head is complete."""
        if len(self.headers) > self.limits.fields:
            raise ValueError("too many fields")
        body_left = self._length_after_upgrade() if self.parser.should_upgrade() else None
        super().on_headers_complete()
        self._body_left = body_left
        self._overhead = 0
        self._phase, self._phase_since, self._body_received = _Phase.BODY, None, 0
        self.headers = []  # trailers are collected here, and ignored
        if body_left is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Receive a part of a body."""
        self._overhead = 0
        if not self.cycle.response_complete:
            self._body_received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless its body is still to be read without the parser."""
        if not self._body_left:
            self._phase, self._phase_since = _Phase.IDLE, None
            super().on_message_complete()

    def _parse(self) -> None:
        """Parse in pieces, until enough requests are waiting."""
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
            self._refuse(400, "The received bytes are not a valid HTTP/1.1 request.")
        if self._overhead > self.limits.head or len(self.headers) > self.limits.fields:
            self._refuse(431, "The request's headers are too large.")

    # --- a request that offers another protocol ---

    def _length_after_upgrade(self) -> int:
        """Return the length of the body.

        The offer is ignored, which declines it (RFC 9110, 7.8). The parser reads nothing after such
        a head. So the body is read here by its length, and all bytes after it are ignored: bytes
        that nobody interprets cannot smuggle a request.
        """
        fields = dict(self.headers)
        if self.parser.get_method() == b"CONNECT" or b"transfer-encoding" in fields:
            raise ValueError("CONNECT, or a body without a length")
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

    # --- refusals ---

    def _refuse(self, status: int, detail: str) -> None:
        """Ignore further input, and send an error after the responses to earlier requests."""
        if self._ending:
            return
        REFUSALS.labels(str(status)).inc()
        self._ending = True
        self.flow.pause_reading()
        broken = self.cycle if self._phase is _Phase.BODY else None
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        refusal = problem(status, detail, headers={"Connection": "close"})
        if broken:
            refusal = enveloped(broken.scope["path"], refusal)
        if self.is_responding and self.running is not broken:
            self._refusal = refusal
        elif broken and broken.response_started:
            self._close()
        else:
            self._send_refusal(refusal)

    def _send_refusal(self, refusal: Response) -> None:
        secure(MutableHeaders(raw=refusal.raw_headers))
        lines = [b": ".join(header) for header in refusal.raw_headers]
        status_line = STATUS_LINE[refusal.status_code]
        self.transport.write(status_line + b"\r\n".join([*lines, b"", b""]) + bytes(refusal.body))
        self._close()

    def _close(self) -> None:
        self._notify_disconnect()
        self.transport.close()

    def _notify_disconnect(self) -> None:
        """Tell the running request of the disconnect; uvicorn tells only the last one read."""
        if self.running:
            self.running.disconnected = True
            self.running.message_event.set()

    # --- timeouts ---

    @property
    def idle_since(self) -> float | None:
        """Since when the server has waited for the client; None while the client waits."""
        if self._unread_since is not None:
            return self._unread_since
        if self.pipeline or self._unparsed:
            return self._opened_at  # a client that sends requests without reading responses
        in_body = self._phase is _Phase.BODY and self.running is self.cycle
        if self._is_waiting_for_server() or (self.is_responding and not in_body):
            return None
        return self._phase_since or self.loop.time()

    def _schedule_check(self) -> None:
        self._timer = self.loop.call_later(self.limits.check_seconds, self._check_timeouts)

    def _check_timeouts(self) -> None:
        """Close the connection if a timeout is over.

        There is one timer per connection: one per request costs more than reading the request.
        """
        now = self.loop.time()
        if self._phase is _Phase.BODY and self.flow.read_paused:
            self._phase_since = None  # the application reads slowly, so the client has to wait
        self._phase_since = self._phase_since or now
        if self.transport.is_closing():
            self._read_by = min(self._read_by, now + self.limits.response_seconds)
        elif self._is_late(now - self._phase_since):
            self._end_late()
        if now > self._read_by:
            self.transport.abort()
        self._schedule_check()

    def _is_waiting_for_server(self) -> bool:
        return self._ending or self.flow.read_paused or self.transport.is_closing()

    def _is_late(self, seconds: float) -> bool:
        if self._is_waiting_for_server() or (self._phase is _Phase.IDLE and self.is_responding):
            return False
        if self._phase is not _Phase.BODY:
            return seconds > self.limits.head_seconds
        return seconds > self.limits.body_seconds + self._body_received / self.limits.body_rate

    def _end_late(self) -> None:
        if self._phase is _Phase.IDLE:
            self.transport.close()
        else:
            self._refuse(408, "The request was not complete in time.")
