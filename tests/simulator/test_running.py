"""Start and stop, in a thread or on the current loop, and control from any thread."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from lumaai import AsyncLumaAI

from service.simulator import Fault, Luma, ManualClock, Plan, Simulator
from service.simulator.server import bind
from tests.simulator.receiver import HANG, Receiver
from tests.waiting import until


def test_it_stops_at_once_and_leaves_no_thread_and_no_socket() -> None:
    before = set(threading.enumerate())
    with Simulator().running() as luma:
        luma.create(plan=Plan(queued=60))
        url = luma.dream_machine_url
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert set(threading.enumerate()) == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_it_stops_at_once_with_a_request_and_a_callback_under_way(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.usual = HANG
    with ThreadPoolExecutor() as threads:
        with Simulator().running() as luma:
            luma.create(callback_url=receiver.url, plan=Plan(queued=0))
            luma.fault(Fault(delay=60))
            answer = threads.submit(httpx.get, luma.dream_machine_url, trust_env=False)
            until(lambda: luma.count() == 1 and len(receiver.received) == 1)
            began = time.monotonic()
        assert time.monotonic() - began < 1
        assert isinstance(answer.exception(), httpx.TransportError)
    assert caplog.records == []


def test_answers_leave_without_waiting_for_more() -> None:
    """A connection inherits the protocol of its listener, and only TCP gets TCP_NODELAY."""
    with bind() as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_what_happened_can_be_read_after_it_has_stopped(receiver: Receiver) -> None:
    with Simulator(clock=ManualClock()).running() as luma:
        made = luma.create(callback_url=receiver.url)
        luma.advance(2.5)
    assert luma.body(made)["state"] == "completed"
    assert len(luma.attempts) == 2
    assert luma.requests == []
    with pytest.raises(RuntimeError, match="stopped"):
        luma.advance(1)
    with pytest.raises(RuntimeError):
        luma.create()


def test_two_run_side_by_side_with_worlds_of_their_own() -> None:
    simulator = Simulator()
    with simulator.running() as one, simulator.running() as other:
        made = one.create()
        assert one.dream_machine_url != other.dream_machine_url
        with pytest.raises(KeyError):
            other.body(made)


def test_it_serves_on_the_present_loop() -> None:
    async def scene() -> None:
        async with (
            Simulator(clock=ManualClock()).serving() as luma,
            AsyncLumaAI(auth_token="key", base_url=luma.dream_machine_url) as sdk,
        ):
            created = await sdk.generations.create(model="ray-2", prompt="a lake")
            luma.fault(Fault(status=404))
            luma.clear_faults()
            await luma.advance_async(2.5)
            done = await sdk.generations.get(str(created.id))
            assert done.state == "completed"
            assert luma.body(luma.create())["state"] == "queued"
            with pytest.raises(RuntimeError, match="advance_async"):
                luma.advance(1)

    asyncio.run(scene())


def test_its_clock_can_be_advanced_from_another_loop(luma: Luma) -> None:
    made = luma.create()
    asyncio.run(luma.advance_async(2.5))
    assert luma.body(made)["state"] == "completed"


def test_many_threads_may_use_it_at_once(luma: Luma) -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: luma.create(), range(64)))
        list(threads.map(lambda _: luma.advance(0.125), range(20)))
    assert len(set(ids)) == 64
    assert {luma.body(made)["state"] for made in ids} == {"completed"}


def test_an_id_is_given_once(luma: Luma) -> None:
    luma.create(id="mine")
    with pytest.raises(ValueError, match="mine"):
        luma.create(id="mine")


def test_what_an_upstream_does_not_know_cannot_be_created(luma: Luma) -> None:
    with pytest.raises(ValueError, match="no operation layering"):
        luma.create("layering")
    with pytest.raises(ValueError, match="callback_url"):
        luma.create("image", upstream="agents", callback_url="http://127.0.0.1/")
    with pytest.raises(ValueError, match="model"):
        luma.create(model="ray-9")


def test_an_error_of_its_own_is_logged(luma: Luma, caplog: pytest.LogCaptureFixture) -> None:
    luma.fault(Fault(status=1000))  # there is no such status
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(luma.dream_machine_url, trust_env=False)
    assert [each.name for each in caplog.records] == ["service.simulator.http"]
