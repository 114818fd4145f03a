"""An answer that is sent whole is, on the wire, what uvicorn would have sent; real sockets."""

import re
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from service.web.whole import WHOLE, Headers, send_whole
from tests.hostile import connect
from tests.served import served

BODY = b'{"id": "a"}'
DATE = re.compile(rb"date: [^\r]*")


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """The same answer, whole or in two messages, as the path says."""
    assert WHOLE in scope["extensions"]
    if scope["path"].startswith("/two"):
        scope = {**scope, "extensions": {}}
    unmodified = scope["path"].endswith("/304")
    headers: Headers = [(b"etag", b'"a"'), (b"x-some", b"thing")]
    if unmodified:
        await send_whole(scope, send, 304, headers, b"")
        return
    headers.append((b"content-length", b"%d" % len(BODY)))
    await send_whole(scope, send, 200, headers, BODY)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that answers by either way."""
    with served(_answer) as url:
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
def test_both_are_the_same_bytes(url: str, request_: bytes, closes: bool) -> None:
    whole, two = (
        _wire(url, request_.replace(b"%b", way), closes=closes) for way in (b"one", b"two")
    )
    assert whole == two
    assert whole.startswith(b"HTTP/1.1 ")
    assert whole.count(b"x-some: thing") == request_.count(b"/%b/") + (not closes)


def test_a_reader_who_has_gone_harms_nobody(url: str) -> None:
    for _ in range(20):
        with connect(url) as connection:
            connection.sendall(b"GET /one/200 HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    assert BODY in _wire(url, b"GET /one/200 HTTP/1.1\r\nHost: x\r\n\r\n", closes=False)
