"""The routes that tell what arrived, and stream bodies of any size."""

import hashlib
import resource
from collections.abc import Iterator

import httpx
import pytest

from service.simulator import Luma, ManualClock, Simulator

LARGE = 64 * 2**20
"""Bytes; far more than may be added to the memory of the process."""
FLAT = 16 * 2**20


@pytest.fixture(scope="module")
def echoing() -> Iterator[Luma]:
    with Simulator(clock=ManualClock(), echo=True).running() as luma:
        yield luma


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": "Bearer key"}, trust_env=False) as client:
        yield client


def test_echo_says_what_arrived(echoing: Luma, http: httpx.Client) -> None:
    url = f"{echoing.agents_url}/echo/a%2Fb?q=%20"
    seen = http.put(url, content=b"body", headers={"X-Mine": "yes"}).json()
    assert (seen["method"], seen["path"], seen["query"]) == (
        "PUT",
        "/agents/v1/echo/a%2Fb",
        "q=%20",
    )
    assert ["x-mine", "yes"] in seen["headers"]
    assert (seen["bytes"], seen["sha256"]) == (4, hashlib.sha256(b"body").hexdigest())


def test_large_bodies_stream_in_both_directions_in_flat_memory(
    echoing: Luma, http: httpx.Client
) -> None:
    before = _peak_memory()
    sent, received = hashlib.sha256(), hashlib.sha256()
    with http.stream("GET", f"{echoing.dream_machine_url}/bytes/{LARGE + 1}") as answer:
        assert answer.headers["content-length"] == str(LARGE + 1)
        for part in answer.iter_bytes():
            received.update(part)
    seen = http.post(f"{echoing.dream_machine_url}/echo", content=_parts(sent)).json()
    assert (seen["bytes"], seen["sha256"]) == (LARGE + 1, sent.hexdigest())
    assert received.digest() == sent.digest()
    assert _peak_memory() - before < FLAT


def test_luma_has_no_such_routes(luma: Luma, http: httpx.Client) -> None:
    assert http.post(f"{luma.agents_url}/echo").status_code == 404
    assert http.get(f"{luma.dream_machine_url}/bytes/1").status_code == 404


def _parts(digest: "hashlib._Hash") -> Iterator[bytes]:
    """The bytes that `/bytes/{LARGE + 1}` answers; `digest` takes them too."""
    part = bytes(range(256)) * 4096
    for _ in range(LARGE // len(part)):
        digest.update(part)
        yield part
    digest.update(part[:1])
    yield part[:1]


def _peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
