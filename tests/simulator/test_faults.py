"""Faults, and the count of requests."""

import time

import httpx
import pytest
from lumaai import APIConnectionError, APITimeoutError, InternalServerError, LumaAI, RateLimitError

from service.simulator import Fault, Luma, RequestSeen


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
