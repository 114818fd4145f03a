"""Downloads: what broke off, is too short, or is not what the server announced is never taken."""

import base64
import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.tracking.archive.download import Dead, Staged, download
from service.tracking.archive.throttle import Throttle
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Undeliverable

BODY = b"the content of an asset"
MD5 = base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode()
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
OTHER = base64.b64encode(bytes(16)).decode()
S3 = "Server: AmazonS3\r\n"
ETAG = f'ETag: "{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"\r\n'
OTHER_ETAG = f'ETag: "{"0" * 32}"\r\n'

Get = Callable[[str], Awaitable[Staged]]


def answer(
    *headers: str, body: bytes = BODY, length: int = len(BODY), status: str = "200 OK"
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{''.join(headers)}\r\n"
    return head.encode() + body


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives one answer after another, and then ends the connection."""
    seen = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for each in answers:
                connection, _ = listening.accept()
                with connection:
                    seen.append(connection.recv(65536))
                    connection.sendall(each)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/a.mp4", seen
        thread.join(10)


@pytest.fixture
async def get(tmp_path: Path) -> AsyncIterator[Get]:
    """Downloads from a URL; always the same asset."""
    dialler = Dialler([ip_network("127.0.0.0/8")])
    yield lambda url: download(dialler, url, tmp_path, "id/video", Throttle())
    await dialler.aclose()


@pytest.mark.parametrize(
    "given",
    [
        answer(),
        answer(f"Content-MD5: {MD5}\r\n"),
        answer(f"Repr-Digest: sha-512=:AA==:, sha-256=:{SHA256}:\r\n"),
        answer(f"X-Goog-Hash: crc32c=AAAAAA==,md5={MD5}\r\n"),
        answer(S3, ETAG),
        answer(OTHER_ETAG),
        answer(S3, OTHER_ETAG, "x-amz-server-side-encryption: aws:kms\r\n"),
        answer("Content-MD5: nonsense\r\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + BODY + b"\r\n0\r\n\r\n",
    ],
)
async def test_what_is_right_or_says_nothing_is_taken(get: Get, given: bytes) -> None:
    with answering(given) as (url, _):
        staged = await get(url)
    assert staged.path.read_bytes() == BODY
    assert (staged.bytes, staged.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer(length=99), "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + BODY, "broke off"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + BODY, "does not say how long"),
        (answer(f"Content-MD5: {OTHER}\r\n"), "checksum"),
        (answer(f"Repr-Digest: sha-256=:{'A' * 43}=:\r\n"), "checksum"),
        (answer(f"X-Goog-Hash: md5={OTHER}\r\n"), "checksum"),
        (answer(S3, OTHER_ETAG), "checksum"),
        (answer(status="500 Oh no"), "Answered 500"),
        (answer("Content-Range: bytes 0-22/23\r\n", status="206 Partial"), "Answered 206"),
        (answer("Location: http://127.0.0.1/\r\n", status="302 Found"), "Answered 302"),
    ],
)
async def test_what_is_not_whole_or_not_right_is_refused(
    get: Get, given: bytes, reason: str
) -> None:
    with answering(given) as (url, _), pytest.raises(Undeliverable, match=reason):
        await get(url)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_url_that_has_died_says_so(get: Get, status: int) -> None:
    with answering(answer(status=f"{status} Gone")) as (url, _), pytest.raises(Dead):
        await get(url)


TAG = 'ETag: "one"\r\n'
REST = "Content-Range: bytes 4-22/23\r\n"


@pytest.mark.parametrize(
    ("first", "second", "resumes"),
    [
        (TAG, answer(TAG, REST, body=BODY[4:], length=19, status="206 Partial"), True),
        (TAG, answer('ETag: "two"\r\n'), True),
        ('ETag: W/"one"\r\n', answer(), False),
        ("", answer(), False),
    ],
)
async def test_the_rest_is_asked_for_only_if_it_is_surely_of_the_same_file(
    get: Get, first: str, second: bytes, resumes: bool
) -> None:
    with answering(answer(first, body=BODY[:4]), second) as (url, seen):
        with pytest.raises(Undeliverable):
            await get(url)
        staged = await get(url)
    assert staged.path.read_bytes() == BODY
    assert (b"\r\nRange: bytes=4-\r\nIf-Range: " in seen[1]) == resumes


async def test_a_rest_that_is_too_short_is_refused(get: Get) -> None:
    short = answer(
        TAG, "Content-Range: bytes 4-9/23\r\n", body=BODY[4:10], length=6, status="206 P"
    )
    with answering(answer(TAG, body=BODY[:4]), short) as (url, _):
        for _try in range(2):
            with pytest.raises(Undeliverable):
                await get(url)
