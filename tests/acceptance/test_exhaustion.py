"""Nobody uses up the service: memory and connections stay bounded, and callbacks get in."""

import re
import resource
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.hostile import Target, connect, target
from tests.waiting import until

ANSWERED = b"HTTP/1.1 200"
MEGABYTE = 1_000_000
ASK = b"GET /v1/generations/known HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SHORT = b"GET / HTTP/1.1\r\n\r\n"
OPEN_FILES = 160


pytestmark = [
    pytest.mark.either_database,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc"),
]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service without tokens, so that an attacker may do more than any stranger could."""
    with target(tmp_path_factory.mktemp("attacked")) as running:
        running.call_back({"id": "known", "state": "dreaming"})
        yield running


@contextmanager
def _costs_at_most(size: int, running: Target) -> Iterator[None]:
    """Its process holds at no time more than so many bytes beyond what it holds now."""
    process = Path(f"/proc/{running.service.process.pid}")
    (process / "clear_refs").write_text("5")  # the peak is what it holds now
    before = _peak(process)
    yield
    assert _peak(process) - before < size


def _peak(process: Path) -> int:
    return int(re.findall(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())[0]) * 1024


def _push(connection: socket.socket, data: bytes, times: int) -> int:
    """Send it again and again; how many bytes were taken before nobody took any for a second."""
    connection.settimeout(1)
    sent = 0
    with suppress(OSError):
        for _ in range(times):
            sent += connection.send(data)
    return sent


@pytest.mark.parametrize("request_", [ASK, SHORT], ids=["lookups", "short ones"])
@pytest.mark.thorough
def test_twenty_megabytes_of_pipelined_requests_cost_little_memory(
    attacked: Target, request_: bytes
) -> None:
    many = request_ * (MEGABYTE // len(request_))
    with _costs_at_most(50 * MEGABYTE, attacked), ExitStack() as opened:
        for _ in range(5):
            connection = opened.enter_context(connect(attacked.service.url))
            _push(connection, many, 20)
        assert attacked.call_back({"id": "meanwhile", "state": "queued"}).status_code == 200


def test_pipelined_requests_whose_answers_are_read_cost_little_memory(attacked: Target) -> None:
    count = 20_000
    with _costs_at_most(50 * MEGABYTE, attacked), connect(attacked.service.url) as connection:
        connection.setblocking(False)
        rest, answers, came = memoryview(ASK * count), b"", 0
        while came < count:
            wanted = [connection] if rest else []
            readable, writable, _ = select.select([connection], wanted, [], 30)
            assert readable or writable, f"after {came} answers nothing goes on"
            if writable:
                rest = rest[connection.send(rest[:MEGABYTE]) :]
            if readable:
                more = connection.recv(MEGABYTE)
                assert more, "it was closed"
                answers = answers[1 - len(ANSWERED) :] + more  # one may come in two parts
                came += answers.count(ANSWERED)


@pytest.mark.parametrize(
    "endless", [b"X-Trailer: y\r\n" * 5_000, b"x" * 70_000], ids=["fields", "one name"]
)
def test_trailers_without_end_cost_little_memory(attacked: Target, endless: bytes) -> None:
    head = f"POST {attacked.callback_path} HTTP/1.1\r\nHost: {attacked.host}\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with _costs_at_most(30 * MEGABYTE, attacked), connect(attacked.service.url) as connection:
        connection.sendall(head.encode() + chunked)
        assert _push(connection, endless, 400) < 20 * MEGABYTE, "nobody reads it to the end"


def _early(running: Target) -> bytes:
    """A body that goes on after its answer."""
    return (
        f"POST /callbacks/x HTTP/1.1\r\nHost: {running.host}\r\nContent-Length: 9\r\n\r\nx".encode()
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "begun",
    [lambda _: b"", lambda _: b"GET / HTTP/1.1\r\nX: ", lambda _: ASK, _early],
    ids=["nothing", "a head", "an answered request", "a body after its answer"],
)
def test_connections_that_do_nothing_keep_no_callback_out(
    tmp_path: Path, begun: Callable[[Target], bytes]
) -> None:
    with target(tmp_path) as running, ExitStack() as opened:
        resource.prlimit(running.service.process.pid, resource.RLIMIT_NOFILE, (OPEN_FILES,) * 2)
        for n in range(2 * OPEN_FILES):
            connection = opened.enter_context(connect(running.service.url))
            connection.sendall(begun(running))
            if n % 20 == 0:
                with connect(running.service.url) as caller:
                    caller.sendall(_callback(running, n))
                    assert b"200 OK" in caller.recv(65_536), n
        until(lambda: "connection_limit_reached" in running.service.said)
        [line] = [line for line in running.service.said.splitlines() if "limit_reached" in line]
        assert "ulimit -n" in line


def test_that_no_connection_can_be_accepted_is_logged(tmp_path: Path) -> None:
    with target(tmp_path) as running:
        before = resource.prlimit(running.service.process.pid, resource.RLIMIT_NOFILE)
        few = (5, before[1])
        resource.prlimit(running.service.process.pid, resource.RLIMIT_NOFILE, few)
        until(lambda: "event=accept_failed" in running.service.said)
        resource.prlimit(running.service.process.pid, resource.RLIMIT_NOFILE, before)
        assert httpx.get(f"{running.service.url}/healthz", timeout=20).status_code == 200


def _callback(running: Target, n: int) -> bytes:
    body = f'{{"id": "among-{n}", "state": "queued"}}'.encode()
    head = f"POST {running.callback_path} HTTP/1.1\r\nHost: {running.host}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_as_many_open_files_are_allowed_as_may_be(attacked: Target) -> None:
    pid = attacked.service.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert soft == hard
