"""Real HTTP servers that receive webhooks, with answers that the test chooses."""

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRETS = ("whsec_" + "QUJD" * 11, "whsec_" + "REVG" * 11)


@dataclass(frozen=True)
class Answer:
    """What a server answers; `held` until the test releases it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    held: bool = False


@dataclass(frozen=True)
class Received:
    """One POST as it arrived."""

    path: str
    headers: dict[str, str]
    raw: bytes
    at: float = field(default_factory=time.monotonic, compare=False)
    """When it arrived, in seconds."""

    @property
    def body(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verify(self, secret: str = SECRETS[0]) -> dict[str, Any]:
        """Check the signature as a receiver does; returns the body."""
        verified: dict[str, Any] = Webhook(secret).verify(self.raw, self.headers)
        return verified


class EndpointServer(ThreadingHTTPServer):
    """Answers each path with its `answers`, one after another, and then with 200."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self.usual: dict[str, Answer] = {}
        self.released = threading.Event()
        self._received: list[Received] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def received(self, path: str) -> list[Received]:
        """What came to a path, in order."""
        return [each for each in self._received if each.path == path]

    def states(self, path: str) -> list[str]:
        """The states that came to a path, in order."""
        bodies = [each.body for each in self.received(path)]
        return [body.get("data", body)["state"] for body in bodies]

    def take(self, received: Received) -> Answer:
        self._received.append(received)
        answers = self.answers[received.path]
        return answers.popleft() if answers else self.usual.get(received.path, Answer())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore senders that disconnected."""


class _Handler(BaseHTTPRequestHandler):
    server: EndpointServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        raw = self.rfile.read(length)
        if len(raw) < length:  # the sender was killed meanwhile
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.take(Received(self.path, headers, raw))
        if answer.held:
            self.server.released.wait(30)
        self.send_response(answer.status)
        self.send_header("content-length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's word
        """Log nothing."""


@contextmanager
def serving_endpoints() -> Iterator[EndpointServer]:
    """A server that listens inside the context."""
    with EndpointServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
