"""The gateway passes bodies of any size in both directions, in little memory."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.simulator import Fault
from service.simulator.echo import PATTERN
from tests.acceptance.conftest import Running, run_service
from tests.acceptance.talk import new_id
from tests.hostile import connect
from tests.waiting import until

pytestmark = pytest.mark.either_database

MB = 1024 * 1024
FILE = 200 * MB
MOST_MEMORY = 20 * MB
"""By how much the service may grow while a file of any size passes."""
PART = PATTERN * 16  # 1 MB
APIS = ("/dream-machine/v1", "/agents/v1")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_service(tmp_path_factory.mktemp("streams")) as one:
        one.http.timeout = httpx.Timeout(60)
        yield one


def parts(size: int) -> Iterator[bytes]:
    """A body of that size."""
    for _ in range(size // len(PART)):
        yield PART
    yield PART[: size % len(PART)]


def digest_of(size: int) -> str:
    digest = hashlib.sha256()
    for part in parts(size):
        digest.update(part)
    return digest.hexdigest()


class Memory:
    """The most memory that a process used since the last `reset`."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def reset(self) -> int:
        """Forget the peak, and return what is in use now; in bytes."""
        (self._folder / "clear_refs").write_text("5")
        return self.peak()

    def peak(self) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024


# What is left behind. First, because connections that are kept alive for reuse would count.


def open_connections(running: Running) -> int:
    """How many connections to Luma the service has open."""
    port = f"{urlsplit(running.luma.agents_url).port:04X}"
    lines = Path(f"/proc/{running.service.process.pid}/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(each[2].endswith(f":{port}") and each[3] == "01" for each in fields)


def begun_upload(running: Running, path: str) -> socket.socket:
    """A connection on which an upload has begun, and has reached Luma."""
    connection = connect(running.service.url)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {FILE}\r\n\r\n"
    connection.sendall(head.encode() + PART)
    until(lambda: running.luma.count("POST", path))
    return connection


def test_a_caller_that_goes_away_in_an_upload_leaves_no_connection_behind(
    running: Running,
) -> None:
    with begun_upload(running, f"/agents/v1/echo/{new_id()}"):
        until(lambda: open_connections(running) == 1)

    until(lambda: open_connections(running) == 0)
    assert "Traceback" not in running.service.said


def test_a_caller_that_goes_away_in_a_download_leaves_no_connection_behind(
    running: Running,
) -> None:
    with running.http.stream("GET", f"/agents/v1/bytes/{FILE}") as answer:
        parts_read = answer.iter_raw()  # kept, because the connection closes with it
        assert next(parts_read)
        until(lambda: open_connections(running) == 1)

    until(lambda: open_connections(running) == 0)
    assert "Traceback" not in running.service.said


def test_an_answer_that_luma_breaks_off_is_seen_to_be_incomplete(running: Running) -> None:
    running.luma.fault(Fault(path="/bytes/", drop_after=100_000))

    with pytest.raises(httpx.RemoteProtocolError, match="received 100000 bytes"):
        running.http.get(f"/agents/v1/bytes/{MB}")

    until(lambda: open_connections(running) == 0)
    assert "Traceback" not in running.service.said


# Files


@pytest.mark.thorough
def test_a_large_file_passes_in_both_directions_in_little_memory(running: Running) -> None:
    memory = Memory(running.service.process.pid)
    running.http.put("/agents/v1/echo", content=parts(MB))
    before = memory.reset()

    sent = running.http.put(
        "/agents/v1/echo", content=parts(FILE), headers={"content-length": str(FILE)}
    ).json()
    digest, size = hashlib.sha256(), 0
    with running.http.stream("GET", f"/agents/v1/bytes/{FILE}") as answer:
        length = answer.headers["content-length"]
        for part in answer.iter_raw():
            digest.update(part)
            size += len(part)

    assert (sent["bytes"], sent["sha256"]) == (FILE, digest_of(FILE))
    assert (size, length, digest.hexdigest()) == (FILE, str(FILE), digest_of(FILE))
    assert memory.peak() - before < MOST_MEMORY


@pytest.mark.thorough
def test_several_large_files_pass_at_once(running: Running) -> None:
    memory, size = Memory(running.service.process.pid), 16 * MB
    before = memory.reset()

    def upload(api: str) -> dict[str, object]:
        answer: dict[str, object] = running.http.post(
            f"{api}/echo", content=parts(size), timeout=120
        ).json()
        return answer

    def download(api: str) -> bytes:
        return hashlib.sha256(running.http.get(f"{api}/bytes/{size}").content).digest()

    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(upload, api) for api in APIS * 2]
        got = [threads.submit(download, api) for api in APIS * 2]

    assert {each.result()["sha256"] for each in sent} == {digest_of(size)}
    assert {each.result().hex() for each in got} == {digest_of(size)}
    assert memory.peak() - before < 2 * MOST_MEMORY  # of 8 files of 16 MB


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_body_is_sent_as_the_caller_frames_it(running: Running, chunked: bool) -> None:
    body = PART[:100_000]
    headers = {} if chunked else {"Content-Length": "100000"}

    sent = running.http.patch("/agents/v1/echo", content=iter([body]), headers=headers).json()

    assert sent["sha256"] == hashlib.sha256(body).hexdigest()
    names = dict(sent["headers"])
    assert ("content-length" in names) is not chunked
    assert ("transfer-encoding" in names) is chunked


def test_a_slow_upload_loses_nothing_and_fast_ones_do_not_wait_for_it(running: Running) -> None:
    go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield PART
        assert go_on.wait(30)
        yield PART

    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(
            lambda: running.http.post("/agents/v1/echo/slow", content=slowly()).json()
        )
        until(lambda: running.luma.count("POST", "/agents/v1/echo/slow"))
        assert running.http.post("/agents/v1/echo", content=PART).json()["bytes"] == MB
        go_on.set()

    assert slow.result()["sha256"] == hashlib.sha256(PART * 2).hexdigest()


def test_a_slow_reader_loses_nothing_and_takes_no_memory(running: Running) -> None:
    memory, size = Memory(running.service.process.pid), 64 * MB
    before, digest = memory.reset(), hashlib.sha256()

    with running.http.stream("GET", f"/agents/v1/bytes/{size}") as slow:
        read = slow.iter_raw()
        digest.update(next(read))
        for _ in range(3):  # meanwhile the service could take in the whole file
            digest.update(running.http.get(f"/agents/v1/bytes/{MB}").content[:0])
        assert memory.peak() - before < MOST_MEMORY
        for part in read:
            digest.update(part)

    assert digest.hexdigest() == digest_of(size)


def test_luma_may_hang_up_during_an_upload(running: Running) -> None:
    running.luma.fault(Fault(path="/echo", drop=True, unread=True))

    answer = running.http.post("/agents/v1/echo", content=parts(8 * MB))

    assert answer.status_code == 503
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("size", [100, 8 * MB])
def test_an_answer_of_luma_before_the_end_of_an_upload_reaches_the_caller(
    running: Running, size: int
) -> None:
    running.luma.fault(Fault(path="/echo", status=413, unread=True))

    answer = running.http.post("/agents/v1/echo", content=parts(size))

    assert answer.status_code == 413
    assert answer.json() == {"detail": "Request Entity Too Large"}


def test_a_caller_that_waits_for_100_continue_gets_it(running: Running) -> None:
    head = (
        b"PUT /agents/v1/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with connect(running.service.url) as connection:
        connection.sendall(head)
        first = connection.recv(100)
        connection.sendall(b"hello")
        rest = b"".join(iter(lambda: connection.recv(65536), b""))

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    sent = json.loads(rest.partition(b"\r\n\r\n")[2])
    assert sent["bytes"] == 5
    assert "expect" not in dict(sent["headers"])
