"""Request heads on a real socket: large ones are refused, and only heads count as heads."""

import socket
import time
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from service.web.server.limits import MAX_BODY, ConnectionLimits
from tests.hostile import PROBLEM, Raw, answer_on, connect
from tests.served import served

SMALL = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def _say_how_long(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with our protocol that answers with the length of the body."""
    with served(_say_how_long) as url:
        yield url


def _head(size: int) -> bytes:
    """A request whose head has about this many bytes."""
    begin = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Large: "
    return begin + b"x" * (size - len(begin) - 4) + b"\r\n\r\n"


def _say(url: str, *pieces: bytes) -> Raw | None:
    """Send pieces one after another, and read one answer."""
    with connect(url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
            return answer_on(connection)
        except (BrokenPipeError, ConnectionResetError):  # it was refused before we had done
            return None


def test_the_limits_are_those_that_are_documented() -> None:
    limits = ConnectionLimits()
    assert (limits.head, limits.fields, limits.pipelined, MAX_BODY) == (65_536, 1000, 16, 1_048_576)
    assert (limits.head_seconds, limits.body_seconds, limits.response_seconds) == (10, 10, 30)
    assert (limits.connections, limits.spare_descriptors) == (4096, 128)


@pytest.mark.parametrize("size", [1_000, 16_000, 60_000])
def test_a_head_within_the_limit_is_taken(url: str, size: int) -> None:
    answer = _say(url, _head(size))
    assert answer
    assert answer.status == 200


@pytest.mark.parametrize("size", [70_000, 100_000, 200_000, 1_000_000])
def test_a_head_beyond_the_limit_is_refused_though_it_comes_in_one_piece(
    url: str, size: int
) -> None:
    answer = _say(url, _head(size))
    assert answer is None or answer.status in (400, 431)


def test_a_head_beyond_the_limit_is_refused_though_it_comes_in_two_pieces(url: str) -> None:
    head = _head(70_000)
    with connect(url) as connection:
        connection.sendall(head[:40_000])
        time.sleep(0.3)
        connection.sendall(head[40_000:])
        assert b" 200 " not in connection.recv(65_536)


def test_a_head_beyond_the_limit_is_refused_though_it_comes_in_small_pieces(url: str) -> None:
    head = _head(80_000)
    pieces = [head[at : at + 4_000] for at in range(0, len(head), 4_000)]
    answer = _say(url, *pieces)
    assert answer is None or answer.status in (400, 431)


def test_a_head_of_many_small_fields_is_refused(url: str) -> None:
    fields = b"".join(b"X-%d: y\r\n" % n for n in range(20_000))
    answer = _say(url, SMALL[:-2] + fields + b"\r\n")
    assert answer is None or answer.status in (400, 431)


def test_a_long_path_is_refused(url: str) -> None:
    answer = _say(url, b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert answer is None or answer.status in (400, 414, 431)


def test_many_requests_on_one_connection_are_not_counted_together(url: str) -> None:
    with connect(url) as connection:
        for _ in range(20):
            connection.sendall(_head(10_000))
            answer = answer_on(connection)
            assert answer
            assert answer.status == 200


def _with_body(size: int) -> bytes:
    head = f"POST /body HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"b" * size


def test_a_body_is_not_a_head(url: str) -> None:
    answer = _say(url, _with_body(1_000_000))
    assert answer
    assert answer.body == b"1000000"


@pytest.mark.parametrize("size", [70_000, 300_000, 1_000_000])
def test_the_body_before_a_head_is_not_counted_with_it(url: str, size: int) -> None:
    """Two requests together, the second in two parts: the first does not count for its head."""
    with connect(url) as connection:
        connection.sendall(_with_body(size) + SMALL[:10])
        first = answer_on(connection)
        connection.sendall(SMALL[10:])
        second = answer_on(connection)
    assert first
    assert first.body == str(size).encode()
    assert second
    assert second.status == 200


@pytest.mark.parametrize("said", [b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\0\0\0\0\r\n\r\n"])
def test_what_is_not_http_is_refused_with_400(url: str, said: bytes) -> None:
    answer = _say(url, said)
    assert answer
    assert answer.status == 400


@pytest.mark.parametrize("said", [b"GET\r\n\r\n", _head(300_000)], ids=["no HTTP", "too large"])
def test_a_refusal_is_a_problem_with_the_security_headers_like_any_other(
    url: str, said: bytes
) -> None:
    answer = _say(url, said)
    assert answer
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 5x\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\nhello",
    ],
)
def test_two_ways_to_read_a_length_are_refused(url: str, lines: bytes) -> None:
    answer = _say(url, b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines)
    assert answer
    assert answer.status == 400
