"""The limits of a connection on size and time, on real sockets, with short timeouts."""

import asyncio
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import ClassVar

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from service.web.server.connections import ConnectionLimiter
from service.web.server.limits import ConnectionLimits
from service.web.server.protocol import LimitedProtocol
from tests.hostile import answer_on, connect
from tests.served import served
from tests.waiting import until

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
LIMIT = 0.4


class _Impatient(LimitedProtocol):
    limits: ClassVar = ConnectionLimits(
        head_seconds=LIMIT,
        body_seconds=LIMIT,
        response_seconds=LIMIT,
        response_rate=100_000_000,
        check_seconds=0.05,
    )
    limiter: ClassVar = ConnectionLimiter(limits)


class _Crowded(LimitedProtocol):
    limits: ClassVar = ConnectionLimits(connections=5, check_seconds=0.02)
    limiter: ClassVar = ConnectionLimiter(limits)


class _App:
    """Answers with the path; `/wait` when the test allows it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.gone = 0
        self.go_on = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/stream":
            await self._stream(receive, send)
            return
        if path == "/wait":
            await self._wait()
        elif path != "/early":
            await Request(scope, receive).body()
        await PlainTextResponse(path)(scope, receive, send)

    async def _wait(self) -> None:
        self.waiting += 1
        await asyncio.to_thread(self.go_on.wait)
        self.waiting -= 1

    async def _stream(self, receive: Receive, send: Send) -> None:
        """Stream slowly until the client disconnects."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.waiting += 1
        telling = asyncio.create_task(_tell(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        telling.cancel()
        self.gone += 1


async def _tell(send: Send) -> None:
    while True:
        await send({"type": "http.response.body", "body": b"x" * 20_000, "more_body": True})
        await asyncio.sleep(0.001)


@pytest.fixture
def app() -> _App:
    """The application."""
    return _App()


@pytest.fixture
def url(app: _App) -> Iterator[str]:
    """A server with the default limits."""
    with served(app) as url:
        yield url
        app.go_on.set()


@pytest.fixture
def impatient(app: _App) -> Iterator[str]:
    """A server with timeouts of a fraction of a second."""
    with served(app, _Impatient) as url:
        yield url
        app.go_on.set()


@pytest.fixture
def crowded(app: _App) -> Iterator[str]:
    """A server that accepts five connections."""
    with served(app, _Crowded) as url:
        yield url
        app.go_on.set()


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.02)
    try:
        return connection.recv(65_536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def _seconds_until_closed(connection: socket.socket, say: Callable[[], bytes] = bytes) -> float:
    """Return the seconds until the server closes, while the client sends from time to time."""
    began = time.monotonic()

    def closed() -> bool:
        with suppress(OSError):
            connection.sendall(say())
        return _is_closed(connection)

    until(closed, 10)
    return time.monotonic() - began


def _statuses(came: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+)", came)


# --- how much ---


def test_requests_that_were_sent_all_at_once_are_all_answered(url: str) -> None:
    with connect(url) as connection:
        sender = threading.Thread(target=connection.sendall, args=(ASK * 5_000,))
        sender.start()
        assert _answers_on(connection, 5_000) == 5_000
        sender.join()


def test_bodies_of_requests_that_wait_are_not_mixed_up(url: str, app: _App) -> None:
    sent = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + (HEAD + b"0123456789") * 200
    with connect(url) as connection:
        connection.sendall(sent)
        until(lambda: app.waiting)
        app.go_on.set()
        assert _answers_on(connection, 201) == 201


def _answers_on(connection: socket.socket, count: int) -> int:
    """Wait for this many responses; return how many came."""
    came = bytearray()
    while came.count(b"HTTP/1.1 200") < count and (chunk := connection.recv(1_000_000)):
        came += chunk
    return came.count(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", [b"/", b"/early", b"/wait"])
@pytest.mark.parametrize(
    "endless",
    [b"0\r\n" + b"X-Trailer: y\r\n" * 40, b"0\r\nX: " + b"y" * 400, b"0\r\n" + b"x" * 400],
    ids=["fields", "value", "name"],
)
def test_trailers_without_end_are_refused(url: str, path: bytes, endless: bytes) -> None:
    with connect(url, timeout=5) as connection:
        connection.sendall(CHUNKED.replace(b"%b", path) + endless)
        sent = 0
        with suppress(OSError):
            while sent < 20_000_000:
                connection.sendall(endless.removeprefix(b"0\r\n").removeprefix(b"X: ") * 100)
                sent += 40_000
        assert sent < 10_000_000, "what was sent is no longer read"


def test_a_chunk_extension_without_end_is_refused(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(CHUNKED.replace(b"%b", b"/") + b"5;" + b"e" * 200_000)
        answer = answer_on(connection)
    assert answer
    assert answer.status == 431


def test_many_fields_are_refused_though_they_are_short(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(ASK[:-2] + b"a:b\r\n" * 1_000 + b"\r\n")
        answer = answer_on(connection)
    assert answer
    assert answer.status in (400, 431)


# --- how long ---


@pytest.mark.parametrize("said", [b"", b"\r\n"], ids=["nothing", "line feeds"])
@pytest.mark.parametrize("before", [b"", ASK], ids=["first", "next"])
def test_a_request_that_does_not_begin_ends_the_connection(
    impatient: str, before: bytes, said: bytes
) -> None:
    with connect(impatient) as connection:
        connection.sendall(before)
        if before:
            assert answer_on(connection)
        assert _seconds_until_closed(connection, lambda: said) > LIMIT / 2


@pytest.mark.parametrize("begun", [ASK[:-2] + b"X: ", HEAD], ids=["head", "body"])
def test_what_does_not_come_whole_is_408(impatient: str, begun: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(begun)
        answer = answer_on(connection)
        assert answer
        assert answer.status == 408
        assert _is_closed(connection)


@pytest.mark.parametrize("path", [b"/dream-machine/v1/files", b"/agents/v1/generations"])
def test_an_upload_through_the_gateway_that_stalls_is_408_in_lumas_form(
    impatient: str, path: bytes
) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD.replace(b"/ ", path + b" ", 1) + b"xyz")
        answer = answer_on(connection)

    assert answer
    assert (answer.status, [*json.loads(answer.body)]) == (408, ["detail"])


def test_a_long_upload_at_a_fair_rate_is_given_the_time_that_it_takes(impatient: str) -> None:
    part, parts = b"x" * 16_384, 40
    length = b"Content-Length: %d" % (parts * len(part))
    with connect(impatient) as connection:
        began = time.monotonic()
        connection.sendall(HEAD.replace(b"Content-Length: 10", length))
        for _ in range(parts - 1):
            connection.sendall(part)
            assert select.select([connection], [], [], LIMIT / 10)[0] == [], "nothing is said yet"
        connection.sendall(part)
        answer = answer_on(connection)

    assert time.monotonic() - began > 3 * LIMIT
    assert answer
    assert answer.status == 200


def test_an_upload_that_dribbles_is_ended(impatient: str) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD.replace(b"10", b"99999"))
        assert _seconds_until_closed(connection, lambda: b"x") < 10 * LIMIT


def test_a_body_that_trickles_after_its_answer_ends_the_connection(impatient: str) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD.replace(b"/ ", b"/early ", 1).replace(b"10", b"99999"))
        answer = answer_on(connection)
        assert answer
        assert answer.status == 200
        assert _seconds_until_closed(connection, lambda: b"x") < 10 * LIMIT


def test_chunks_that_trickle_after_their_answer_end_the_connection(impatient: str) -> None:
    with connect(impatient) as connection:
        connection.sendall(CHUNKED.replace(b"%b", b"/early"))
        assert answer_on(connection)
        assert _seconds_until_closed(connection, lambda: b"1\r\nx\r\n") < 10 * LIMIT


def test_who_waits_for_us_is_given_all_the_time(impatient: str, app: _App) -> None:
    """So is what follows it: it is the server that does not continue to read."""
    with connect(impatient) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD + b"01234")
        until(lambda: app.waiting)
        time.sleep(3 * LIMIT)  # nothing can be waited for: it is to happen nothing
        assert not _is_closed(connection)
        app.go_on.set()
        connection.settimeout(10)
        first = answer_on(connection)
        connection.sendall(b"56789")
        second = answer_on(connection)
    assert first
    assert second
    assert (first.body, second.body) == (b"/wait", b"/")


def test_a_head_that_dawdles_behind_a_request_is_refused_after_its_answer(
    impatient: str, app: _App
) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + ASK[:10])
        time.sleep(2 * LIMIT)  # as above
        app.go_on.set()
        came = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert _statuses(came) == [b"200", b"408"]


@pytest.mark.parametrize("behind", [b"", ASK * 3], ids=["alone", "with others behind"])
def test_a_reader_who_does_not_read_is_cut_off_and_the_application_told(
    impatient: str, app: _App, behind: bytes
) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + behind)
        until(lambda: app.gone, 10)


@pytest.mark.parametrize("behind", [b"", ASK * 3], ids=["alone", "with others behind"])
def test_a_reader_who_leaves_is_known_to_have_gone(url: str, app: _App, behind: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + behind)
        until(lambda: app.waiting)
    until(lambda: app.gone, 10)


def test_a_reader_who_reads_slowly_but_reads_goes_on(impatient: str, app: _App) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        end = time.monotonic() + 4 * LIMIT
        while time.monotonic() < end:
            assert connection.recv(65_536)
    assert app.waiting


# --- how many ---


def test_for_a_new_connection_the_one_that_idled_longest_goes(crowded: str) -> None:
    with ExitStack() as opened:
        first = opened.enter_context(connect(crowded))
        first.sendall(ASK)
        assert answer_on(first)
        time.sleep(0.2)  # so that it is the one that idles longest
        others = [opened.enter_context(connect(crowded)) for _ in range(5)]
        for connection in others:
            connection.sendall(ASK)
            answer = answer_on(connection)
            assert answer
            assert answer.status == 200
        assert _is_closed(first)
        assert not any(_is_closed(connection) for connection in others)


def test_for_a_new_connection_one_goes_whose_client_takes_no_answers(
    crowded: str, app: _App
) -> None:
    """Its body is incomplete, so the server waits for it, although no response was sent."""
    with ExitStack() as opened:
        greedy = [opened.enter_context(connect(crowded)) for _ in range(5)]
        for connection in greedy:
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + ASK)
        until(lambda: app.waiting == 5)
        time.sleep(0.5)  # until what the kernel keeps for them is full
        newcomer = opened.enter_context(connect(crowded))
        newcomer.sendall(ASK)
        answer = answer_on(newcomer)
    assert answer
    assert answer.status == 200


@pytest.mark.thorough
def test_for_a_new_connection_one_goes_that_asks_without_end(crowded: str) -> None:
    """Each receives responses all the time, and has always sent more before."""
    stop = threading.Event()

    def flood(connection: socket.socket) -> None:
        with suppress(OSError):
            while not stop.is_set():
                connection.sendall(ASK * 100)

    with ExitStack() as opened:
        greedy = [opened.enter_context(connect(crowded)) for _ in range(5)]
        floods = [threading.Thread(target=flood, args=(each,)) for each in greedy]
        opened.callback(stop.set)
        for each in floods:
            each.start()
        time.sleep(0.2)
        newcomer = opened.enter_context(connect(crowded))
        newcomer.sendall(ASK)
        answer = answer_on(newcomer)
    for each in floods:
        each.join(10)
    assert answer
    assert answer.status == 200


def test_whoever_waits_for_an_answer_does_not_go_for_a_new_connection(
    crowded: str, app: _App
) -> None:
    with ExitStack() as opened:
        waiting = [opened.enter_context(connect(crowded)) for _ in range(5)]
        for connection in waiting:
            connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: app.waiting == 5)
        with connect(crowded) as newcomer:
            refused = answer_on(newcomer)
        app.go_on.set()
        answers = [answer_on(connection) for connection in waiting]
    assert refused
    assert refused.status == 503
    assert [answer.status for answer in answers if answer] == [200] * 5
