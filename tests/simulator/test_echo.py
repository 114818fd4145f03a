"""The routes that tell what arrived, and stream bodies of any size."""

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from service.simulator import Luma, ManualClock, Simulator
from tests.simulator.memory import FLAT, LARGE, large_body, peak_memory


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
    before = peak_memory()
    sent, received = hashlib.sha256(), hashlib.sha256()
    with http.stream("GET", f"{echoing.dream_machine_url}/bytes/{LARGE}") as answer:
        assert answer.headers["content-length"] == str(LARGE)
        for part in answer.iter_bytes():
            received.update(part)
    seen = http.post(f"{echoing.dream_machine_url}/echo", content=large_body(sent)).json()
    assert (seen["bytes"], seen["sha256"]) == (LARGE, sent.hexdigest())
    assert received.digest() == sent.digest()
    assert peak_memory() - before < FLAT


def test_luma_has_no_such_routes(luma: Luma, http: httpx.Client) -> None:
    assert http.post(f"{luma.agents_url}/echo").status_code == 404
    assert http.get(f"{luma.dream_machine_url}/bytes/1").status_code == 404
