"""What an attacker brings: a service to try it on, requests as raw bytes, and bad bodies.

The bodies come with a good callback token, so each of them must be kept as it is and answered
200 or 422. Those of `readable()` hold a usable id, those of `unreadable()` do not; those of
`deep()` may be either.
"""

import gzip
import json
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx

from tests.acceptance.conftest import ASKING, Running, run_service

MCP = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
PROBLEM = "application/problem+json"


class Target(Running):
    """A service to attack."""

    @property
    def host(self) -> str:
        """Its name and port."""
        return urlsplit(self.service.url).netloc

    @property
    def callback_path(self) -> str:
        """The path of its reusable callback URL."""
        return self.service.callback_path

    def call_back(self, body: object) -> httpx.Response:
        """POST a callback: bytes as they stand, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(self.callback_path, content=content)

    def rpc(self, method: str, params: object, **headers: str) -> httpx.Response:
        """One MCP request."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.http.post("/mcp", content=json.dumps(asked), headers={**MCP, **headers})

    def tool(self, name: str, arguments: object, **headers: str) -> httpx.Response:
        """Call an MCP tool."""
        return self.rpc("tools/call", {"name": name, "arguments": arguments}, **headers)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample in /metrics; 0 while there is none."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        for line in self.http.get("/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(label in sample for label in wanted):
                return float(value)
        return 0.0


@contextmanager
def target(folder: Path, **given: str) -> Iterator[Target]:
    """A service with settings of the test's own, for as long as it is entered."""
    with run_service(folder, **{**ASKING, **given}) as running:
        yield Target(running.service, running.luma, running.http)


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer, read off the socket."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(url: str, timeout: float = 20) -> socket.socket:
    """A connection to a service."""
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout)


def answer_on(connection: socket.socket, *, bodiless: bool = False) -> Raw | None:
    """The next answer on a connection; None if it was closed without one."""
    came = b""
    while b"\r\n\r\n" not in came:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        came += chunk
    head, _, body = came.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = 0 if bodiless else int(headers.get("content-length", "0"))
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            break
        body += chunk
    return Raw(int(first.split()[1]), headers, body)


def ask(url: str, path: str | bytes, *lines: bytes, method: str = "GET") -> Raw:
    """One request whose path and header lines go out byte for byte."""
    at = path if isinstance(path, bytes) else path.encode()
    host = () if any(line.lower().startswith(b"host:") for line in lines) else (_host_line(url),)
    head = b"\r\n".join([method.encode() + b" " + at + b" HTTP/1.1", *host, *lines])
    with connect(url) as connection:
        connection.sendall(head + b"\r\n\r\n")
        answer = answer_on(connection, bodiless=method == "HEAD")
    assert answer, f"{method} {at!r} {lines} was not answered"
    return answer


def _host_line(url: str) -> bytes:
    return b"Host: " + urlsplit(url).netloc.encode()


def strict(body: bytes | str) -> Any:
    """The JSON in `body`, without what only Python's reader puts up with."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    text = body if isinstance(body, str) else body.decode("utf-8")
    text.encode("utf-8")  # no lone surrogates
    return json.loads(text, parse_constant=refuse)


FIELDS = (
    *("state", "generation_type", "type", "model", "version", "created_at"),
    *("failure_reason", "assets", "request"),
)
_INNER = {
    "request": ("prompt", "generation_type", "type", "model", "callback_url", "keyframes"),
    "assets": ("video", "image", "progress_video"),
}
_WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1.5, 10**30, "", "x", "\0", "\ud800", "\x1b[31m\r\n", [], [[{}]], {}),
    {"": {"b": [None]}},
)
_TIMES = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z"),
    *("9999-12-31T23:59:59-14:00", "2400-01-01", "0099-05-05", "2026-W22-6", "24:00", "now"),
    *(253402300799, -62135596800, 1e18, -1e18, 1e308, 0.1, -0.0, 10**400),
)
_STATES = (
    *("completed\nVideo URL: https://forged.example/", "COMPLETED", " completed", "unknown"),
    *("x" * 10_000, "\N{RIGHT-TO-LEFT OVERRIDE}deliaf", "💥", "[red]", "{}", "%s", "' OR 1=1 --"),
)
_DEPTHS = (10, 50, 100, 200, 240, 250, 255, 256, 260, 300, 400, 450, 480, 500)
_NUMBERS = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1" + "0" * 4200),
    *("9007199254740993", "18446744073709551616", "-0", "0.1e1", "1.7976931348623157e308"),
    *("9" * 5_000, "-" + "9" * 5_000),  # more digits than Python converts
)
_TEXTS = (
    *(r'"\ud800"', r'"\udfff\ud800"', r'"\u0000"', '"\N{BYTE ORDER MARK}"', '"\u2028\u2029"'),
    *('"' + "😀" * 5_000 + '"', '"\x7f"', r'"\/"', '"' + "a" * 500_000 + '"'),
)


def readable() -> dict[str, bytes]:
    """Name -> a body with a usable id, and something wrong with the rest."""
    bodies: list[tuple[str, str, Any]] = []
    for field in FIELDS:
        bodies += [(f"{field} is {wrong!r}", field, wrong) for wrong in _WRONG]
    for field, members in _INNER.items():
        bodies += [
            (f"{field}.{member} is {wrong!r}", field, {member: wrong})
            for member in members
            for wrong in _WRONG
        ]
    bodies += [(f"created_at is {time!r}", "created_at", time) for time in _TIMES]
    bodies += [(f"state is {state[:40]!r}", "state", state) for state in _STATES]
    bodies += [("many members", "request", {str(n): n for n in range(20_000)})]
    bodies += [("odd names", "assets", {"\ud800": "x", "": "y", "\0": "z", "__proto__": "w"})]
    named = {
        name: json.dumps({"id": f"h-{n}", "state": "dreaming", field: value}).encode()
        for n, (name, field, value) in enumerate(bodies)
    }
    named |= {
        f"{name} with an asset": _inside(f"x-{n}", f'"state": "completed", "assets": {value}')
        for n, (name, value) in enumerate(_asset_maps())
    }
    for n, value in enumerate((*_NUMBERS, *_TEXTS)):
        named[f"request.x is {value[:20]} ({n})"] = _inside(
            f"v-{n}", f'"request": {{"x": {value}}}'
        )
        named[f"prompt is {value[:20]} ({n})"] = _inside(
            f"p-{n}", f'"request":{{"prompt":{value}}}'
        )
    return named | _odd_wrappings()


def deep() -> dict[str, bytes]:
    """Name -> a body with a usable id that may be deeper than we care to go: taken, or refused."""
    return {
        **{f"depth {d}": _nested(f"depth-{d}", "[", "]", d) for d in _DEPTHS},
        **{f"depth {d} of objects": _nested(f"od-{d}", '{"a":', "}", d) for d in _DEPTHS},
    }


def unreadable() -> dict[str, bytes]:
    """Name -> a body in which no generation can be recognised."""
    named = {
        **{f"id is {value!r:.40}": json.dumps({"id": value}).encode() for value in bad_ids()},
        **{f"{wrong!r} for a body": json.dumps(wrong).encode() for wrong in _WRONG},
        **{f"depth {d} of lists": b"[" * d + b"]" * d for d in (900, 1_000, 5_000, 100_000)},
        **{f"open {d} deep": b'{"id":' * d for d in (1, 1_000, 100_000)},
    }
    whole = b'{"id": "whole", "state": "completed", "request": {"prompt": "caf\xc3\xa9"}}'
    named |= {f"cut off at {n}": whole[:n] for n in range(1, len(whole), 5)}
    return named | {
        "nothing": b"",
        "blanks": b" \r\n\t",
        "zeros": b"\0" * 64,
        "every byte": bytes(range(256)),
        "no id": b'{"state": "completed"}',
        "two documents": whole + whole,
        "trailing comma": b'{"id": "a",}',
        "single quotes": b"{'id': 'a'}",
        "a comment": b'{"id": "a" /* b */}',
        "bare words": b"{id: a}",
        "gzip": gzip.compress(whole, mtime=0),
        "gzip cut off": gzip.compress(whole, mtime=0)[:-9],
        "latin-1": '{"id": "a", "state": "é"}'.encode("latin-1"),
        "overlong UTF-8": b'{"id": "\xc0\xaf"}',
        "UTF-16 cut off": whole.decode().encode("utf-16")[:-3],
        "a raw newline in a string": b'{"id": "a\nb"}',
        "a form": b"id=a&state=completed",
        "multipart": b'--x\r\nContent-Disposition: form-data; name="id"\r\n\r\na\r\n--x--\r\n',
        "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///">]><a>&b;</a>',
        "HTML": b"<script>alert(1)</script>",
        "SQL": b"'; DROP TABLE deliveries; --",
        "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        "a template": b"{{7*7}}${7*7}%s%n",
        "a request of HTTP": b"POST /callbacks/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    }


def bad_ids() -> list[Any]:
    """What Luma would never give for an id, as far as it fits into JSON."""
    return [
        *(None, True, 5, -0.5, [], ["a"], {}, {"id": "a"}, "", " ", "a b", "a\n", "\na", "a\0"),
        *("a/b", "../a", "/etc/passwd", "a\\b", "a" * 129, "a" * 10_000, "é", "😀", "\ud800"),
        *("%2e%2e", "a?b", "a#b", "a;b", "a'b", 'a"b', "<a>", "$(a)", "a,b", "a@b", "ａ", "a\x7f"),
    ]


def corpus() -> dict[str, bytes]:
    """All of them."""
    return readable() | deep() | unreadable()


def _asset_maps() -> list[tuple[str, str]]:
    return [
        ("a script for an asset", '{"video": "javascript:alert(1)"}'),
        ("the same asset twice", '{"video": "https://a/", "video": "https://b/"}'),
        ("no asset", '{"video": ""}'),
        ("a list for an asset", '{"video": ["https://a/"]}'),
    ]


def _nested(generation_id: str, opening: str, closing: str, depth: int) -> bytes:
    return _inside(generation_id, f'"request": {{"x": {opening * depth}1{closing * depth}}}')


def _inside(generation_id: str, members: str) -> bytes:
    return f'{{"id": "{generation_id}", {members}}}'.encode()


def _odd_wrappings() -> dict[str, bytes]:
    plain = '{"id": "%s", "state": "dreaming", "request": {"prompt": "é"}}'
    codecs = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    return {
        **{codec: (plain % f"in-{codec}").encode(codec) for codec in codecs},
        "surrogates in UTF-8": b'{"id": "in-cesu", "state": "\xed\xa0\x80"}',
        "an id twice": b'{"id": 5, "id": "twice", "state": "queued", "state": "dreaming"}',
        "an escaped id": rb'{"\u0069d": "\u0065scaped"}',
        "blanks about it": b" \r\n\t" * 1_000 + b'{"id": "blanks"}' + b"\n" * 1_000,
        "nothing but an id": b'{"id": "bare"}',
        "the longest id": _inside("i" * 128, '"state": "queued"'),
        "an id of marks": _inside("-_.:", '"state": "queued"'),
        "an id like a flag": _inside("--help", '"state": "queued"'),
        "an id like a number": _inside("1e999", '"state": "queued"'),
        "another's envelope": b'{"id": "envelope", "data": {"id": "other", "state": "failed"}}',
        "a megabyte": _inside("mega", f'"request": {{"prompt": "{"x" * 1_000_000}"}}'),
        "no number": json.dumps({"id": "nan", "request": {"x": [math.nan, math.inf]}}).encode(),
    }
