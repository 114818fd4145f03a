"""Requests that offer another protocol, heads in several parts, and smuggled requests.

What follows a request that offers another protocol is not read, so it cannot be smuggled.
"""

import json
import socket
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tests.hostile import Raw, answer_on, connect
from tests.served import served

OFFERS = [b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"]
OFFERS += [b"Connection: upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Key: x\r\n"]
BODY = b'{"id": "a", "prompt": "one\r\nUpgrade: two"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    body = await request.body()
    fields = sorted({*request.headers})
    told = {"path": request.url.path, "body": body.decode("latin-1"), "fields": fields}
    await JSONResponse(told)(scope, receive, send)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with our protocol that answers with what it received."""
    with served(_echo) as url:
        yield url


def _post(*fields: bytes, body: bytes = BODY, path: bytes = b"/first") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + b"".join(fields) + b"\r\n" + body


def _told(answer: Raw | None) -> tuple[str, str]:
    assert answer
    assert answer.status == 200, answer
    told = json.loads(answer.body)
    return told["path"], told["body"]


def _is_over(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def _answers(url: str, sent: bytes) -> list[Raw]:
    """All answers until the server closes the connection."""
    with connect(url) as connection:
        connection.sendall(sent)
        come: list[Raw] = []
        came = b"".join(iter(lambda: connection.recv(65_536), b""))
    while came:
        head, _, rest = came.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        come.append(Raw(int(first.split()[1]), headers, rest[:length]))
        came = rest[length:]
    return come


def _cut_everywhere(url: str, whole: bytes) -> list[tuple[socket.socket, bytes]]:
    """One connection for each cut: its first part has been read, the rest is still to be sent."""
    opened = [(connect(url), whole[at:]) for at in range(1, len(whole))]
    for at, (connection, _) in enumerate(opened, start=1):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(whole[:at])
    with connect(
        url
    ) as another:  # as it comes later, the others have been read when it is answered
        for _ in range(2):
            another.sendall(NEXT)
            assert answer_on(another)
    return opened


@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "websocket"])
def test_an_offer_of_another_protocol_costs_no_body_wherever_it_is_cut(
    url: str, offer: bytes
) -> None:
    for connection, rest in _cut_everywhere(url, _post(offer, LENGTH)):
        with connection:
            connection.sendall(rest)
            answer = answer_on(connection)
            assert _told(answer) == ("/first", BODY.decode()), rest
            assert answer
            assert answer.headers["connection"] == "close"
            assert _is_over(connection)


def test_a_body_is_not_changed_wherever_the_request_is_cut_and_the_next_one_is_read(
    url: str,
) -> None:
    """Cut before the last line feed of its head, a body once grew by a byte for each `Upgrade:`."""
    for connection, rest in _cut_everywhere(url, _post(LENGTH)):
        with connection:
            connection.sendall(rest)
            assert _told(answer_on(connection)) == ("/first", BODY.decode()), rest
            connection.sendall(NEXT)
            assert _told(answer_on(connection)) == ("/next", "")


@pytest.mark.parametrize("at", [-3, -2, -1, 0, 1])
def test_no_request_is_smuggled_in_a_body_whose_head_was_cut(url: str, at: int) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nX: "
    body = b"x\r\nUpgrade: y" * len(smuggled) + smuggled
    whole = _post(b"Content-Length: %d\r\n" % len(body), body=body)
    cut = whole.index(b"\r\n\r\n") + 4 + at
    with connect(url) as connection, connect(url) as another:
        connection.sendall(whole[:cut])
        another.sendall(NEXT)
        assert answer_on(another)
        connection.sendall(whole[cut:])
        assert _told(answer_on(connection)) == ("/first", body.decode())
        connection.sendall(NEXT)
        assert _told(answer_on(connection)) == ("/next", "")


@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "websocket"])
def test_what_follows_a_request_that_offers_another_protocol_is_not_read(
    url: str, offer: bytes
) -> None:
    smuggled = _post(b"Content-Length: 0\r\n", path=b"/smuggled", body=b"")
    answers = _answers(url, NEXT + _post(offer, LENGTH) + smuggled + NEXT)
    assert [_told(answer) for answer in answers] == [("/next", ""), ("/first", BODY.decode())]


def test_an_offer_without_a_body_is_answered_and_is_the_last(url: str) -> None:
    offer = b"GET /first HTTP/1.1\r\nHost: x\r\n" + OFFERS[0] + b"\r\n"
    assert [_told(answer) for answer in _answers(url, offer + NEXT)] == [("/first", "")]


def test_an_upgrade_that_the_connection_does_not_offer_is_nothing_special(url: str) -> None:
    with connect(url) as connection:
        for _ in range(2):
            connection.sendall(_post(b"Upgrade: h2c\r\n", LENGTH))
            assert _told(answer_on(connection)) == ("/first", BODY.decode())


def test_a_body_of_an_offer_may_be_large(url: str) -> None:
    body = b"b" * 1_000_000
    [answer] = _answers(url, _post(OFFERS[0], b"Content-Length: 1000000\r\n", body=body))
    assert _told(answer) == ("/first", body.decode())


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 5\r\n\x00: x\r\n",
        b"Content-Length: 5\n",
    ],
)
@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "websocket"])
def test_a_length_that_is_not_certain_is_refused_and_nothing_after_it_is_read(
    url: str, offer: bytes, fields: bytes
) -> None:
    for sent in (_post(offer, fields), _post(fields, offer)):
        answers = _answers(url, sent + NEXT)
        assert [answer.status for answer in answers] == [400]
        assert answers[0].headers["connection"] == "close"


@pytest.mark.parametrize(
    "sent",
    [
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT /first HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_a_tunnel_or_another_protocol_at_once_is_refused(url: str, sent: bytes) -> None:
    assert [answer.status for answer in _answers(url, sent + NEXT)] == [400]


@pytest.mark.parametrize("bad", [b"\0\0\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n", b"Z" * 100])
def test_what_is_refused_is_refused_in_its_turn(url: str, bad: bytes) -> None:
    """The responses to earlier requests come first, and are complete."""
    answers = _answers(url, NEXT * 3 + _post(LENGTH) + bad)
    assert [answer.status for answer in answers] == [200] * 4 + [400]


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_body_that_cannot_be_read_is_refused_in_its_turn(url: str, before: int) -> None:
    broken = _post(b"Transfer-Encoding: chunked\r\n", body=b"5\r\nhello\r\nzz\r\n")
    answers = _answers(url, NEXT * before + broken + NEXT)
    assert [answer.status for answer in answers] == [200] * before + [400]


def test_trailers_are_no_headers(url: str) -> None:
    trailers = b"5\r\nhello\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\nX-Late: x\r\n\r\n"
    with connect(url) as connection:
        connection.sendall(_post(b"Transfer-Encoding: chunked\r\n", body=trailers))
        answer = answer_on(connection)
    assert answer
    assert json.loads(answer.body) == {
        "path": "/first",
        "body": "hello",
        "fields": ["host", "transfer-encoding"],
    }
