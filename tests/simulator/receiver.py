"""A real HTTP server that receives callbacks, with answers that the test chooses."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = 0
"""No answer: the request times out."""


@dataclass(frozen=True)
class Received:
    """One POST as it arrived."""

    path: str
    content_type: str | None
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses in `answers`, one after another, and then with `usual`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[Received] = []
        self.answers: deque[int] = deque()
        self.usual = 200
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?job=1"

    @property
    def states(self) -> list[str]:
        """The received states, in order."""
        return [each.body["state"] for each in self.received]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore senders that disconnected."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(Received(self.path, self.headers["content-type"], raw))
        status = self.server.answers.popleft() if self.server.answers else self.server.usual
        if status == HANG:
            self.server.released.wait(10)
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", "0")
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's word
        """Log nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens inside the context."""
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            receiver.shutdown()
            thread.join()
