"""Downloads by threads: no server holds one for long, and a stop leaves what came so far."""

import asyncio
import hashlib
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from service.tracking.archive.download import Staged, download
from service.tracking.archive.throttle import Throttle
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Undeliverable
from tests.tls import certificate
from tests.tracking.test_archive_download import BODY, TAG, answer
from tests.waiting import until_async

LOOPBACK = [ip_network("127.0.0.0/8")]
LARGE = BODY * 100_000
LARGE_DIGEST = hashlib.sha256(LARGE).hexdigest()

Speak = Callable[[socket.socket, bytes], None]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    return certificate(tmp_path_factory.mktemp("identity"))


@pytest.fixture(params=["http", "https"])
def tls(
    request: pytest.FixtureRequest, identity: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> ssl.SSLContext | None:
    """What servers of ours secure connections with; we trust it."""
    if request.param == "http":
        return None
    monkeypatch.setenv("SSL_CERT_FILE", str(identity[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identity)
    return context


@contextmanager
def speaking(*turns: Speak, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that does one of these with each connection, once the request is there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for speak in turns:
                connection, _ = listening.accept()
                with suppress(OSError), connection:
                    if tls:
                        connection = tls.wrap_socket(connection, server_side=True)
                    with connection:
                        speak(connection, connection.recv(65536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        scheme = "https" if tls else "http"
        yield f"{scheme}://localhost:{listening.getsockname()[1]}/a.mp4"
        thread.join(90)
        assert not thread.is_alive()


def saying(*pieces: bytes) -> Speak:
    """Send these."""

    def speak(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"".join(pieces))

    return speak


def repeating(head: bytes, piece: bytes, seconds: float = 0) -> Speak:
    """Send a head, and then the same again and again, until the client has gone."""

    def speak(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head)
        connection.settimeout(2)  # a client that has gone may leave its window shut for a minute
        while not select.select([connection], [], [], seconds)[0]:
            connection.sendall(piece)

    return speak


def holding(said: threading.Event, *pieces: bytes) -> Speak:
    """Send these, and nothing more until the client has gone."""

    def speak(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"".join(pieces))
        said.set()
        connection.settimeout(60)
        connection.recv(1)

    return speak


def dialler(timeout: float) -> Dialler:
    return Dialler(LOOPBACK, timeout, lambda _host, _port: [ip_address("127.0.0.1")])


@pytest.fixture
async def patient() -> AsyncIterator[Dialler]:
    created = dialler(60)
    yield created
    await created.aclose()


def get(by: Dialler, url: str, folder: Path) -> asyncio.Task[Staged]:
    return asyncio.create_task(download(by, url, folder, "id/video", Throttle()))


async def cancelled(task: asyncio.Task[Staged]) -> None:
    """Stop a download; that takes less time than a read may take."""
    task.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await task


def contents(folder: Path) -> list[bytes]:
    """What came so far."""
    return [path.read_bytes() for path in folder.glob("*.part")]


CHUNKS = b"".join(
    b"%x\r\n%b\r\n" % (len(piece), piece)
    for piece in (LARGE[:1], LARGE[1:70_000], LARGE[70_000:2_000_000], LARGE[2_000_000:], b"")
)


@pytest.mark.parametrize(
    "given",
    [
        answer(body=LARGE, length=len(LARGE)),
        answer(body=LARGE + b"more", length=len(LARGE)),
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + CHUNKS,
    ],
)
async def test_a_large_body_arrives_whole_however_its_length_is_said(
    patient: Dialler, tls: ssl.SSLContext | None, tmp_path: Path, given: bytes
) -> None:
    with speaking(saying(given), tls=tls) as url:
        staged = await get(patient, url, tmp_path)
    assert (staged.bytes, staged.sha256) == (len(LARGE), LARGE_DIGEST)
    assert contents(tmp_path) == [LARGE]


async def test_a_stop_ends_the_thread_soon_and_the_next_try_resumes(
    patient: Dialler, tls: ssl.SSLContext | None, tmp_path: Path
) -> None:
    half = answer(TAG, body=LARGE[: len(LARGE) // 2], length=len(LARGE))
    with speaking(holding(threading.Event(), half), the_rest, tls=tls) as url:
        stopped = get(patient, url, tmp_path)
        await until_async(lambda: any(contents(tmp_path)), 30)
        await cancelled(stopped)
        [came] = contents(tmp_path)
        assert LARGE.startswith(came)
        assert (await get(patient, url, tmp_path)).sha256 == LARGE_DIGEST


async def test_a_stop_in_a_full_stream_leaves_only_what_the_server_has_sent(
    patient: Dialler, tls: ssl.SSLContext | None, tmp_path: Path
) -> None:
    endless = repeating(answer(TAG, body=b"", length=1 << 40), LARGE)
    with speaking(endless, tls=tls) as url:
        stopped = get(patient, url, tmp_path)
        await until_async(lambda: any(contents(tmp_path)), 30)
        await cancelled(stopped)
    [came] = contents(tmp_path)
    assert came == (LARGE * (len(came) // len(LARGE) + 1))[: len(came)]


def the_rest(connection: socket.socket, request: bytes) -> None:
    """Send what a request to resume asks for."""
    start = int(request.split(b"\r\nRange: bytes=")[1].split(b"-")[0])
    range_ = f"Content-Range: bytes {start}-{len(LARGE) - 1}/{len(LARGE)}\r\n"
    rest = LARGE[start:]
    connection.sendall(answer(TAG, range_, body=rest, length=len(rest), status="206 Partial"))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_server_that_does_not_even_shake_hands_holds_no_thread_after_a_stop(
    patient: Dialler, tmp_path: Path, scheme: str
) -> None:
    seen = threading.Event()
    with speaking(holding(seen)) as url:
        held = get(patient, url.replace("http:", f"{scheme}:"), tmp_path)
        await until_async(seen.is_set, 30)
        await cancelled(held)


@pytest.mark.parametrize(
    "speak",
    [
        repeating(b"HTTP/1.1 ", b"2", 0.02),
        repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
        holding(threading.Event()),
    ],
)
async def test_a_head_that_takes_too_long_is_given_up(
    tls: ssl.SSLContext | None, tmp_path: Path, speak: Speak
) -> None:
    impatient = dialler(0.5)
    with speaking(speak, tls=tls) as url, pytest.raises(Undeliverable, match=r"timed out|0\.5 s"):
        await get(impatient, url, tmp_path)
    await impatient.aclose()


@pytest.mark.parametrize(
    ("speak", "reason"),
    [
        (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "more than 131072 bytes"),
        (repeating(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 10_000), "not HTTP|more than 131072 bytes"),
        (saying(), "broke off|Connection reset"),
        (saying(answer(length=99)), "broke off|Connection reset"),
    ],
)
async def test_an_answer_without_end_or_that_ends_too_soon_is_given_up(
    patient: Dialler, tls: ssl.SSLContext | None, tmp_path: Path, speak: Speak, reason: str
) -> None:
    with speaking(speak, tls=tls) as url, pytest.raises(Undeliverable, match=reason):
        await get(patient, url, tmp_path)


async def test_more_than_the_whole_asset_has_is_not_read_to_its_end(
    patient: Dialler, tls: ssl.SSLContext | None, tmp_path: Path
) -> None:
    head = (
        f"HTTP/1.1 206 P\r\n{TAG}Content-Range: bytes 4-22/23\r\nContent-Length: {1 << 40}\r\n\r\n"
    )
    endless = repeating(head.encode(), LARGE)
    with speaking(saying(answer(TAG, body=BODY[:4])), endless, tls=tls) as url:
        with pytest.raises(Undeliverable, match="broke off"):
            await get(patient, url, tmp_path)
        with pytest.raises(Undeliverable, match="bytes instead of 23"):
            await get(patient, url, tmp_path)
    assert contents(tmp_path) == []


async def test_what_must_not_be_reached_is_not(tmp_path: Path) -> None:
    untrusting, closed = Dialler(LOOPBACK), Dialler()
    with pytest.raises(Undeliverable, match="not public"):
        await get(closed, "http://127.0.0.1:1/a.mp4", tmp_path)
    with pytest.raises(Undeliverable, match=r"^The connection failed: Connection refused\.$"):
        await get(untrusting, "http://127.0.0.1:1/a.mp4", tmp_path)
    for url in ("http://[::1", "ftp://127.0.0.1/", "nonsense"):
        with pytest.raises(Undeliverable, match="malformed"):
            await get(untrusting, url, tmp_path)
    await untrusting.aclose()
    await closed.aclose()


async def test_a_certificate_that_nobody_trusts_is_refused(
    patient: Dialler, identity: tuple[Path, Path], tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identity)
    refused = pytest.raises(Undeliverable, match=r"^The connection failed: .*CERTIFICATE")
    with speaking(saying(answer()), tls=context) as url, refused:
        await get(patient, url, tmp_path)


async def test_a_full_disk_is_no_fault_of_the_server(
    patient: Dialler, tls: ssl.SSLContext | None, tmp_path: Path
) -> None:
    with speaking(saying(answer()), tls=tls) as url, pytest.raises(FileNotFoundError):
        await get(patient, url, tmp_path / "gone")
