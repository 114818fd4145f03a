"""An answer that is sent whole is, on the wire, what uvicorn would have sent; real sockets."""

import re
import time
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from service.web.whole import WHOLE, Headers, Whole, send_whole
from tests.hostile import connect
from tests.served import served

BODY = b'{"id": "a"}'
LARGE = b"x" * 1_000_000
DATE = re.compile(rb"date: [^\r]*")


class _App:
    """The same answers at once, whole or in two messages, as the path says."""

    def __init__(self) -> None:
        self.answered_at_once = self.called = 0

    def at_once(self, scope: Scope) -> Whole | None:
        """What may be had without waiting."""
        if scope["path"] == "/broken":
            raise RuntimeError("This is a bug.")
        if not scope["path"].startswith("/soon"):
            return None
        self.answered_at_once += 1
        return _answer(scope["path"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The rest."""
        self.called += 1
        assert WHOLE in scope["extensions"]
        if scope["path"].startswith("/two"):
            scope = {**scope, "extensions": {}}
        await send_whole(scope, send, _answer(scope["path"]))


def _answer(path: str) -> Whole:
    headers: Headers = [(b"etag", b'"a"'), (b"x-some", b"thing")]
    if path.endswith("/304"):
        return Whole(304, headers, b"")
    body = LARGE if path.endswith("/large") else BODY
    return Whole(200, [*headers, (b"content-length", b"%d" % len(body))], body)


@pytest.fixture
def app() -> _App:
    """What answers."""
    return _App()


@pytest.fixture
def url(app: _App) -> Iterator[str]:
    """A server that answers by any way."""
    with served(app) as url:
        yield url


def _wire(url: str, requests: bytes, *, closes: bool) -> bytes:
    """All that comes back; the last request is followed by one that closes, unless it does."""
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
    soon, whole, two = (
        _wire(url, request_.replace(b"%b", way), closes=closes) for way in (b"soon", b"one", b"two")
    )
    assert soon == whole == two
    assert whole.startswith(b"HTTP/1.1 ")
    assert whole.count(b"x-some: thing") == request_.count(b"/%b/") + (not closes)


def test_what_is_answered_at_once_needs_no_task(app: _App, url: str) -> None:
    _wire(url, b"GET /soon/200 HTTP/1.1\r\nHost: x\r\n\r\n" * 500, closes=False)
    assert (app.answered_at_once, app.called) == (500, 1)


def test_answers_keep_the_order_of_the_questions(url: str) -> None:
    ways = [b"soon", b"two", b"one", b"soon", b"soon", b"two"] * 20
    asked = b"".join(b"GET /%b/%b HTTP/1.1\r\nHost: x\r\n\r\n" % (w, s) for w, s in _mixed(ways))
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


def test_a_bug_on_the_way_at_once_costs_nobody_the_answer(app: _App, url: str) -> None:
    assert BODY in _wire(url, b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n", closes=False)
    assert app.called == 2


@pytest.mark.parametrize("way", [b"soon", b"one"])
def test_a_reader_who_has_gone_harms_nobody(url: str, way: bytes) -> None:
    request = b"GET /%b/200 HTTP/1.1\r\nHost: x\r\n\r\n" % way
    for _ in range(20):
        with connect(url) as connection:
            connection.sendall(request * 50)
    assert BODY in _wire(url, request, closes=False)
