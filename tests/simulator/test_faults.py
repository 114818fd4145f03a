"""Faults, and the count of requests."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from lumaai import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    InternalServerError,
    LumaAI,
    RateLimitError,
)

from service.simulator import Fault, Luma, ManualClock, Plan, RequestSeen, Simulator
from tests.simulator.receiver import Receiver
from tests.waiting import until


@pytest.fixture
def luma() -> Iterator[Luma]:
    """A simulator in which a prompt has its generation called back before it is answered."""
    plans = {"at once": Plan(queued=0)}
    with Simulator(clock=ManualClock(), plans=plans).running() as luma:
        yield luma


def test_a_status_is_played_as_often_as_asked_and_then_no_more(luma: Luma, sdk: LumaAI) -> None:
    made = luma.create()
    luma.fault(Fault(status=503, headers={"Retry-After": "7"}, times=2, path="/generations/"))
    for _ in range(2):
        with pytest.raises(InternalServerError) as error:
            sdk.generations.get(made)
        assert error.value.response.headers["retry-after"] == "7"
        assert error.value.body == {"detail": "Service Unavailable"}
    assert sdk.generations.get(made).state == "queued"


def test_a_fault_is_for_the_requests_that_match_only(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(status=429, path="/credits"))
    luma.fault(Fault(status=500, method="POST"))
    assert sdk.ping.check().message == "pong"
    with pytest.raises(RateLimitError):
        sdk.credits.get()
    with pytest.raises(InternalServerError):
        sdk.generations.create(model="ray-2", prompt="a lake")
    assert sdk.generations.list().generations == [], "a refused create creates nothing"


def test_a_fault_without_a_number_lasts_until_it_is_cleared(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(status=599, times=None))
    for _ in range(3):
        with pytest.raises(InternalServerError, match="Status 599"):
            sdk.ping.check()
    luma.clear_faults()
    assert sdk.ping.check().message == "pong"


def test_garbage_comes_as_it_was_given(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(body=b"<html>", content_type="text/html"))
    response = sdk.ping.with_raw_response.check()
    assert (response.status_code, response.http_response.content) == (200, b"<html>")
    assert response.headers["content-type"] == "text/html"


def test_a_page_of_the_list_may_be_anything(luma: Luma, sdk: LumaAI) -> None:
    """An empty page that promises more, a page of a proxy, and a key that is refused."""
    luma.create()
    luma.fault(Fault(body=b'{"generations": [], "has_more": true}', query="offset=0"))
    page = sdk.generations.list(offset=0)
    assert (page.generations, page.has_more) == ([], True)
    luma.fault(Fault(body=b"<html>", content_type="text/html"))
    response = sdk.generations.with_raw_response.list()
    assert response.http_response.text == "<html>"
    luma.fault(Fault(status=401, body=b'{"detail": "Invalid API key is provided"}'))
    with pytest.raises(AuthenticationError):
        sdk.generations.list()


def test_a_dropped_connection_gets_no_answer_at_all(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(drop=True))
    with pytest.raises(APIConnectionError) as error:
        sdk.generations.create(model="ray-2", prompt="a lake")
    assert isinstance(error.value.__cause__, httpx.NetworkError | httpx.RemoteProtocolError)
    assert luma.requests == [
        RequestSeen("POST", "/dream-machine/v1/generations/video", status=None)
    ]


def test_a_delay_makes_a_good_answer_late(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(delay=0.1))
    began = time.monotonic()
    assert sdk.ping.check().message == "pong"
    assert time.monotonic() - began >= 0.1


def test_a_delay_longer_than_the_callers_patience_is_a_timeout(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(delay=30))
    with pytest.raises(APITimeoutError):
        sdk.with_options(timeout=0.05).ping.check()


def test_a_lost_answer_leaves_the_generation_made_and_called_back(
    luma: Luma, sdk: LumaAI, receiver: Receiver
) -> None:
    luma.fault(Fault(drop=True, processed=True))
    with pytest.raises(APIConnectionError):
        sdk.generations.create(model="ray-2", prompt="at once", callback_url=receiver.url)
    made = sdk.generations.list().generations
    assert [each.id for each in made] == [receiver.received[0].body["id"]]
    assert luma.requests[0].status is None


def test_an_error_may_come_after_the_generation_was_made(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(status=500, processed=True))
    with pytest.raises(InternalServerError):
        sdk.generations.create(model="ray-2", prompt="a lake")
    assert len(sdk.generations.list().generations) == 1


@pytest.mark.parametrize("delay", [0, 0.1])
def test_a_late_answer_comes_after_the_callback(
    delay: float, luma: Luma, sdk: LumaAI, receiver: Receiver
) -> None:
    luma.fault(Fault(answer_delay=delay))
    began = time.monotonic()
    created = sdk.generations.create(model="ray-2", prompt="at once", callback_url=receiver.url)
    assert time.monotonic() - began >= delay
    assert receiver.received[0].body["id"] == created.id


def test_a_caller_that_hangs_up_before_a_late_answer_has_a_generation(
    luma: Luma, sdk: LumaAI
) -> None:
    luma.fault(Fault(answer_delay=30))
    with pytest.raises(APITimeoutError):
        sdk.with_options(timeout=0.2).generations.create(model="ray-2", prompt="a lake")
    assert len(sdk.generations.list().generations) == 1


@pytest.mark.parametrize("replaced", [{"drop": True}, {"status": 503}])
def test_a_request_is_read_before_it_fails(replaced: dict[str, Any], luma: Luma) -> None:
    luma.fault(Fault(**replaced))
    with _raw_create(luma) as caller:
        caller.sendall(b'{"prompt": ')
        assert not _has_answer(caller)
        caller.sendall(b'"a lake"}')
        _read_to_end(caller)
    assert luma.requests[0].body == b'{"prompt": "a lake"}'


@pytest.mark.parametrize("replaced", [{"drop": True}, {"status": 503}])
def test_a_request_may_fail_before_it_is_read(replaced: dict[str, Any], luma: Luma) -> None:
    luma.fault(Fault(unread=True, **replaced))
    with _raw_create(luma) as caller:
        _read_to_end(caller)
    assert luma.requests[0].body == b""


@pytest.mark.parametrize("sent", [0, 10])
def test_an_answer_may_be_cut_in_its_body(
    sent: int, luma: Luma, caplog: pytest.LogCaptureFixture
) -> None:
    made = luma.create()
    luma.fault(Fault(drop_after=sent))
    url, headers = f"{luma.dream_machine_url}/generations/{made}", {"Authorization": "Bearer key"}
    received = b""
    with httpx.stream("GET", url, headers=headers, trust_env=False) as answer:
        assert int(answer.headers["content-length"]) > sent
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012 - what came before counts
            for part in answer.iter_bytes():
                received += part
    assert (answer.status_code, received) == (200, f'{{"id":"{made}'.encode()[:sent])
    assert caplog.records == []


def test_a_fault_may_be_for_a_query_and_for_the_nth_request(luma: Luma, sdk: LumaAI) -> None:
    luma.fault(Fault(status=500, query="offset=2", skip=1))
    sdk.generations.list(offset=2)
    sdk.generations.list(offset=1)
    with pytest.raises(InternalServerError):
        sdk.generations.list(offset=2)
    sdk.generations.list(offset=2)


def test_a_fault_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="leave one out"):
        Fault(drop=True, processed=True, unread=True)
    with pytest.raises(ValueError, match="the answer is regular"):
        Fault(processed=True)


def test_requests_are_counted_by_method_and_path(luma: Luma, sdk: LumaAI) -> None:
    made = luma.create()
    sdk.generations.get(made)
    sdk.generations.list(limit=5)
    sdk.ping.check()
    assert luma.count() == 3
    assert luma.count(method="GET", path="/generations/") == 1
    assert luma.count(method="POST") == 0
    assert luma.requests[0] == RequestSeen("GET", f"/dream-machine/v1/generations/{made}", 200)
    assert luma.requests[1].query == "limit=5"


def test_an_unknown_route_is_404_and_counted(luma: Luma) -> None:
    answer = httpx.get(luma.dream_machine_url.replace("/v1", "/v9"), trust_env=False)
    assert answer.status_code == 404
    assert luma.requests == [RequestSeen("GET", "/dream-machine/v9", 404)]


@contextmanager
def _raw_create(luma: Luma) -> Iterator[socket.socket]:
    """A connection on which the head of a create has been sent, and 20 bytes are to follow."""
    url = httpx.URL(luma.dream_machine_url)
    head = f"POST {url.path}/generations HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 20\r\n\r\n"
    with socket.create_connection((url.host, url.port or 80), timeout=10) as caller:
        caller.sendall(head.encode())
        until(lambda: luma.count("POST") == 1)
        yield caller


def _has_answer(caller: socket.socket) -> bool:
    """Whether the simulator says something, within a tenth of a second."""
    return bool(select.select([caller], [], [], 0.1)[0])


def _read_to_end(caller: socket.socket) -> None:
    """Read until there is an answer or the connection is closed."""
    with suppress(ConnectionResetError):
        caller.recv(65_536)
