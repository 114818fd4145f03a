"""A request for a file over a connected socket, in a thread: the event loop sees none of its bytes.

The head and a chunked body are read by h11, as httpcore does. A body of known length needs no
parser, and goes from the socket to where it is wanted.
"""

import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import h11

from service.tracking.dialling.reply import Download, Undeliverable, reason_of
from service.tracking.dialling.target import Target

_READ = 65_536  # bytes that are read at once of a head, and of a chunked body
_LONGEST_HEAD = 131_072  # bytes; a server can send interim answers (1xx) forever


class Exchange:
    """One request and its answer. Its methods block.

    Args:
        connection: connected; it is left open.
        timeout: seconds for the time until the head is there, and then for each read.
    """

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._came = memoryview(b"")  # of the body, and not yet given out
        self._length: int | None = None  # bytes that are still to come; None: h11 finds the end
        self._flags = 0

    def get(self, target: Target, headers: Mapping[str, str]) -> Download:
        """Send a GET request, and return the answer as soon as its head is there.

        Raises:
            Undeliverable: the connection broke, it took too long, or the answer is not HTTP.
        """
        with _failures():
            deadline = time.monotonic() + self._timeout
            self._limit(deadline)
            if isinstance(self._connection, ssl.SSLSocket):
                self._connection.do_handshake()
            self._limit(deadline)
            self._connection.sendall(self._request(target, headers))
            head = self._head(deadline)
            self._wait_in_kernel()
        found = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in head.headers}
        self._expect_body(found)
        return Download(head.status_code, found, self._readinto)

    def _request(self, target: Target, headers: Mapping[str, str]) -> bytes:
        sent = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in target.headers(headers)]
        request = h11.Request(method="GET", target=target.path, headers=sent)
        return (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    def _limit(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:  # not only when nothing comes: a server may send a byte at a time
            raise TimeoutError
        self._connection.settimeout(left)

    def _head(self, deadline: float) -> h11.Response:
        size = 0
        while not isinstance(event := self._http.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                if size > _LONGEST_HEAD:
                    reason = f"the answer's head has more than {_LONGEST_HEAD} bytes"
                    raise Undeliverable(f"The connection failed: {reason}.")
                self._limit(deadline)
                size += self._feed()
        return event

    def _wait_in_kernel(self) -> None:
        """Let each read fill its buffer, which takes a sixth less CPU than whatever is there."""
        if isinstance(self._connection, ssl.SSLSocket):
            self._connection.settimeout(self._timeout)
            return
        seconds, rest = divmod(self._timeout, 1)
        limit = struct.pack("ll", int(seconds), int(rest * 1e6))
        self._connection.settimeout(None)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._flags = socket.MSG_WAITALL

    def _feed(self) -> int:
        data = self._connection.recv(_READ)
        self._http.receive_data(data)
        return len(data)

    def _expect_body(self, headers: Mapping[str, str]) -> None:
        if "content-length" in headers and "transfer-encoding" not in headers:
            self._length = int(headers["content-length"])  # h11 has checked it
            self._came = memoryview(self._http.trailing_data[0])[: self._length]
            self._length -= len(self._came)

    def _readinto(self, buffer: memoryview) -> int:
        """See `Download.readinto`."""
        with _failures():
            if not self._came and self._length is not None:
                return self._read_directly(buffer)
            self._came = self._came or memoryview(self._decoded())
        count = min(len(self._came), len(buffer))
        buffer[:count] = self._came[:count]
        self._came = self._came[count:]
        return count

    def _read_directly(self, buffer: memoryview) -> int:
        if not self._length:
            return 0
        count = self._connection.recv_into(buffer[: self._length], 0, self._flags)
        if not count:
            raise h11.RemoteProtocolError(f"{self._length} bytes are missing")
        self._length -= count
        return count

    def _decoded(self) -> bytes:
        """Return the next piece of a body whose end is marked; nothing at the end."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Data):
                return event.data
            if event is not h11.NEED_DATA:
                return b""
            self._feed()


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what can go wrong with a connection into `Undeliverable`."""
    try:
        yield
    except OSError as error:
        raise Undeliverable(f"The connection failed: {reason_of(error)}.") from error
    except h11.ProtocolError as error:
        reason = type(error).__name__  # the rest may be what a server that is not for us has said
        raise Undeliverable(f"The answer is not HTTP, or broke off: {reason}.") from error
