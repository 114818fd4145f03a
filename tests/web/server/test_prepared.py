"""A prepared response has the same bytes on the wire as uvicorn's own; real sockets."""

import asyncio
import re
import time
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from service.web.server.fast_protocol import SendPrepared
from service.web.server.prepared import PREPARED, Headers, PreparedResponse, send_prepared
from tests.hostile import connect
from tests.served import served

BODY = b'{"id": "a"}'
ABC = b"Content-Length: 3\r\n\r\nabc"
LARGE = b"x" * 1_000_000
DATE = re.compile(rb"date: [^\r]*")


class _App:
    """Sends the same response without a task, prepared, or in two messages, by path."""

    def __init__(self) -> None:
        self.answered_at_once = self.called = 0
        self.promised = list[bytes]()

    def respond(self, scope: Scope, body: bytes, send: SendPrepared) -> bool:
        """Answer immediately, or a moment later."""
        if scope["path"] == "/broken":
            raise RuntimeError("This is a bug.")
        if scope["path"].startswith("/soon"):
            self.answered_at_once += 1
            send(_answer(scope["path"]))
            return True
        if scope["path"].startswith("/later"):
            self.promised.append(body)
            asyncio.get_running_loop().call_later(0.01, send, _answer(scope["path"]))
            return True
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the other requests."""
        self.called += 1
        assert PREPARED in scope["extensions"]
        if scope["path"].startswith("/two"):
            scope = {**scope, "extensions": {}}
        await send_prepared(scope, send, _answer(scope["path"]))


def _answer(path: str) -> PreparedResponse:
    headers: Headers = [(b"etag", b'"a"'), (b"x-some", b"thing")]
    if path.endswith("/304"):
        return PreparedResponse(304, headers, b"")
    body = LARGE if path.endswith("/large") else BODY
    return PreparedResponse(200, [*headers, (b"content-length", b"%d" % len(body))], body)


@pytest.fixture
def app() -> _App:
    """The application."""
    return _App()


@pytest.fixture
def url(app: _App) -> Iterator[str]:
    """A server that supports prepared responses."""
    with served(app) as url:
        yield url


def _wire(url: str, requests: bytes, *, closes: bool) -> bytes:
    """Return all bytes received; a request that closes is appended unless the last one does."""
    last = b"" if closes else b"GET /two/304 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(url) as connection:
        connection.sendall(requests + last)
        came = b"".join(iter(lambda: connection.recv(65_536), b""))
    return DATE.sub(b"date: now", came)


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (b"GET /%b/200 HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET /%b/304 HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"HEAD /%b/200 HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET /%b/200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", True),
        (b"GET /%b/200 HTTP/1.0\r\n\r\n", True),
        (b"GET /%b/200 HTTP/1.1\r\nHost: x\r\n\r\n" * 5, False),
        (b"POST /%b/200 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", False),
        (
            b"POST /%b/200 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 3\r\n\r\nabc",
            False,
        ),
    ],
)
def test_all_are_the_same_bytes(url: str, request_: bytes, closes: bool) -> None:
    soon, later, whole, two = (
        _wire(url, request_.replace(b"%b", way), closes=closes)
        for way in (b"soon", b"later", b"one", b"two")
    )
    assert soon == later == whole == two
    assert whole.startswith(b"HTTP/1.1 ")
    assert whole.count(b"x-some: thing") == request_.count(b"/%b/") + (not closes)


def test_what_is_answered_at_once_needs_no_task(app: _App, url: str) -> None:
    _wire(url, b"GET /soon/200 HTTP/1.1\r\nHost: x\r\n\r\n" * 500, closes=False)
    assert (app.answered_at_once, app.called) == (500, 1)


def test_answers_keep_the_order_of_the_questions(url: str) -> None:
    ways = [
        b"GET /soon",
        b"GET /two",
        b"POST /later",
        b"GET /soon",
        b"GET /soon",
        b"POST /one",
    ] * 20
    asked = b"".join(b"%b/%b HTTP/1.1\r\nHost: x\r\n%b" % (*each, ABC) for each in _mixed(ways))
    answered = re.findall(rb"HTTP/1.1 (\d+)", _wire(url, asked, closes=False))
    assert answered == [*(status for _, status in _mixed(ways)), b"304"]


def _mixed(ways: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(way, b"304" if n % 3 == 0 else b"200") for n, way in enumerate(ways)]


def test_who_does_not_read_is_not_written_to_without_end(app: _App, url: str) -> None:
    asked = b"GET /soon/large HTTP/1.1\r\nHost: x\r\n\r\n" * 200
    with connect(url) as connection:
        connection.sendall(asked)
        time.sleep(1)
        assert 0 < app.answered_at_once + app.called < 50, "the rest waits until somebody reads"
        came = 0
        while came < 200 * len(LARGE):
            came += len(connection.recv(1_000_000))
    assert app.answered_at_once + app.called == 200


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_bug_on_a_short_way_costs_nobody_the_answer(app: _App, url: str, method: bytes) -> None:
    request = b"%b /broken HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % method
    assert BODY in _wire(url, request, closes=False)
    assert app.called == 2


def test_a_promise_is_asked_for_with_the_whole_body(app: _App, url: str) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for rest in (ABC, chunked, b"Content-Length: 0\r\n\r\n"):
        _wire(url, b"POST /later/200 HTTP/1.1\r\nHost: x\r\n%b" % rest, closes=False)
    assert app.promised == [b"abc", b"abcde", b""]


def test_a_body_that_is_still_to_come_is_read_by_the_call(app: _App, url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"POST /later/200 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        time.sleep(0.2)
        connection.sendall(b"bc")
        assert b"200 OK" in connection.recv(65_536)
    assert (app.promised, app.called) == ([], 1)


@pytest.mark.parametrize("way", [b"GET /soon", b"GET /one", b"POST /later"])
def test_a_reader_who_has_gone_harms_nobody(url: str, way: bytes) -> None:
    request = b"%b/200 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % way
    for _ in range(20):
        with connect(url) as connection:
            connection.sendall(request * 50)
    assert BODY in _wire(url, request, closes=False)
