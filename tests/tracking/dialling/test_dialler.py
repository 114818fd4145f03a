"""Dialling: each address is checked when it is dialled, and the checked one is connected to."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network

import pytest

from service.domain.addresses import Address
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Undeliverable
from tests.endpoints import Answer, EndpointServer, serving_endpoints
from tests.waiting import until_async

LOOPBACK = [ip_network("127.0.0.0/8")]


@pytest.fixture(scope="module")
def server() -> Iterator[EndpointServer]:
    with serving_endpoints() as running:
        yield running


def names(*answers: Sequence[str]) -> tuple[Callable[[str, int], list[Address]], list[str]]:
    """A name server that gives one answer after another; and the names it was asked for."""
    asked, left = list[str](), [*answers]

    def resolve(host: str, _port: int) -> list[Address]:
        asked.append(host)
        return [ip_address(each) for each in (left.pop(0) if len(left) > 1 else left[0])]

    return resolve, asked


async def reason_of(dialler: Dialler, url: str) -> str:
    """Why a request was not delivered."""
    with pytest.raises(Undeliverable) as undeliverable:
        await dialler.post(url, {}, b"{}")
    return str(undeliverable.value)


@pytest.fixture
async def open_() -> AsyncIterator[Dialler]:
    dialler = Dialler(LOOPBACK)
    yield dialler
    await dialler.aclose()


async def test_what_is_sent_arrives_under_the_name_of_the_url(server: EndpointServer) -> None:
    resolve, asked = names(["127.0.0.1"])
    dialler = Dialler(LOOPBACK, resolve=resolve)
    url = f"http://hooks.example:{server.server_port}/name?a=b%20c"
    reply = await dialler.post(url, {"x-of": "ours"}, b'{"a": 1}')
    await dialler.aclose()

    [received] = server.received("/name?a=b%20c")
    assert reply.is_success
    assert asked == ["hooks.example"]
    assert received.headers["host"] == f"hooks.example:{server.server_port}"
    assert received.headers["x-of"] == "ours"
    assert received.raw == b'{"a": 1}'


async def test_each_request_resolves_anew_so_a_name_that_moves_inward_is_refused(
    server: EndpointServer,
) -> None:
    resolve, asked = names(["127.0.0.1"], ["10.0.0.1"], ["::ffff:10.0.0.1"], ["169.254.169.254"])
    dialler = Dialler(LOOPBACK, resolve=resolve)
    url = f"http://rebinding.example:{server.server_port}/rebinding"
    assert (await dialler.post(url, {}, b"")).is_success
    for _ in range(3):
        assert "not public" in await reason_of(dialler, url)
    await dialler.aclose()

    assert len(server.received("/rebinding")) == 1
    assert asked == ["rebinding.example"] * 4


async def test_of_several_addresses_only_those_that_are_allowed_are_dialled(
    server: EndpointServer,
) -> None:
    resolve, _ = names(["10.0.0.1", "fe80::1", "127.0.0.2", "127.0.0.1"])
    dialler = Dialler([*LOOPBACK], resolve=resolve)
    assert (await dialler.post(server.url("/several"), {}, b"")).is_success
    await dialler.aclose()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "localhost"),
        *("[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "[::]", "[64:ff9b::127.0.0.1]"),
    ],
)
async def test_no_spelling_of_a_closed_address_gets_through(
    server: EndpointServer, host: str
) -> None:
    dialler = Dialler()
    before = len(server.received("/spelt"))
    await reason_of(dialler, f"http://{host}:{server.server_port}/spelt")
    await dialler.aclose()
    assert len(server.received("/spelt")) == before


async def test_a_redirect_is_not_followed(open_: Dialler, server: EndpointServer) -> None:
    server.answers["/moved"].append(Answer(302, {"Location": server.url("/target")}))
    reply = await open_.post(server.url("/moved"), {}, b"")
    assert reply.status == 302
    assert server.received("/target") == []


async def test_no_cookie_is_kept(open_: Dialler, server: EndpointServer) -> None:
    server.answers["/cookie"].append(Answer(200, {"Set-Cookie": "a=b"}))
    for _ in range(2):
        await open_.post(server.url("/cookie"), {}, b"")
    assert ["cookie" in each.headers for each in server.received("/cookie")] == [False, False]


async def test_no_proxy_of_the_environment_is_used(
    server: EndpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    dialler = Dialler(LOOPBACK)
    assert (await dialler.post(server.url("/direct"), {}, b"")).is_success
    await dialler.aclose()


async def test_of_a_failed_answer_the_first_kilobyte_is_read(
    open_: Dialler, server: EndpointServer
) -> None:
    server.answers["/long"].append(Answer(500, body=b"x" * 100_000))
    assert (await open_.post(server.url("/long"), {}, b"")).excerpt == b"x" * 1024


async def test_a_slow_answer_ends_at_the_timeout(server: EndpointServer) -> None:
    server.answers["/slow"].append(Answer(held=True))
    dialler = Dialler(LOOPBACK, timeout=0.2)
    assert await reason_of(dialler, server.url("/slow")) == "No answer within 0.2 s."
    await dialler.aclose()


async def test_what_cannot_be_reached_says_why(open_: Dialler) -> None:
    assert "failed" in await reason_of(open_, "http://127.0.0.1:1/hunter2")
    for url in ("http://[::1", "ftp://127.0.0.1/", "nonsense"):
        assert await reason_of(open_, url) == "The URL is malformed."

    def resolve(_host: str, _port: int) -> list[Address]:
        raise socket.gaierror

    nameless = Dialler(LOOPBACK, resolve=resolve)
    assert await reason_of(nameless, "http://no.example/") == "The name cannot be resolved."
    await nameless.aclose()


@contextmanager
def speaking(answer: bytes) -> Iterator[int]:
    """A server that sends bytes to whoever connects; returns its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200"])
async def test_an_answer_that_is_not_http_says_so(open_: Dialler, answer: bytes) -> None:
    with speaking(answer) as port:
        reason = await reason_of(open_, f"http://127.0.0.1:{port}/")
    assert reason.startswith(("The answer is not HTTP", "The connection failed"))


async def test_tls_is_for_the_name_of_the_url() -> None:
    seen = list[str | None]()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    resolve, _ = names(["127.0.0.1"])
    dialler = Dialler(LOOPBACK, resolve=resolve)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, pytest.raises((ssl.SSLError, OSError)):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        assert "failed" in await reason_of(dialler, f"https://hooks.example:{port}/")
        thread.join()
    await dialler.aclose()
    assert seen == ["hooks.example"]


async def test_slow_endpoints_leave_connections_for_others(
    open_: Dialler, server: EndpointServer
) -> None:
    server.usual["/held"] = Answer(held=True)
    slow = [asyncio.create_task(open_.post(server.url("/held"), {}, b"")) for _ in range(30)]
    await until_async(lambda: len(server.received("/held")) == len(slow))
    assert (await open_.post(server.url("/quick"), {}, b"")).is_success
    for each in slow:
        each.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    server.released.set()


async def test_an_answer_that_never_begins_is_not_read_for_ever(open_: Dialler) -> None:
    """An endpoint can send interim answers as fast as we read them, which takes a whole core."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_send_interim_answers, args=(listener,), daemon=True).start()
        reason = await reason_of(open_, f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert reason == "The connection failed: the answer has more than 131072 bytes."


def _send_interim_answers(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
