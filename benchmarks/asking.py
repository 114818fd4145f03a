"""Requests as bytes, one at a time over one connection: for a look, and for one patient client."""

import socket
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

_PATIENCE = 30.0  # seconds
_BODILESS = (204, 304)


class Wrong(Exception):
    """An answer that must not be, or none: nothing can be measured so."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; Host and Content-Length are added."""

    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encoded(self, netloc: str) -> bytes:
        """As it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {netloc}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.method != "GET":
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, wanted: str) -> str:
        """The value of a header; empty if it was not sent."""
        return next((value for name, value in self.headers if name.lower() == wanted), "")


class Line:
    """A connection that is kept open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._netloc = parts.netloc
        address = (parts.hostname or "", parts.port or 80)
        self._socket = socket.create_connection(address, timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def ask(self, request: Request) -> Answer:
        """Send, and wait for the whole answer."""
        self._socket.sendall(request.encoded(self._netloc))
        while b"\r\n\r\n" not in self._came:
            self._more()
        head, _, self._came = self._came.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        answer = Answer(int(first.split()[1]), headers, b"")
        length = 0 if answer.status in _BODILESS else int(answer.header("content-length"))
        while len(self._came) < length:
            self._more()
        body, self._came = self._came[:length], self._came[length:]
        return Answer(answer.status, headers, body)

    def _more(self) -> None:
        some = self._socket.recv(65536)
        if not some:
            raise ConnectionError("The server closed the connection.")
        self._came += some


def ask(url: str, request: Request, expected: int = 200) -> Answer:
    """One answer, which must be the expected one: what is measured has to be right first."""
    with Line(url) as line:
        answer = line.ask(request)
    if answer.status != expected:
        raise Wrong(f"{request.path}: {answer.status}, not {expected}: {answer.body[:300]!r}")
    return answer
