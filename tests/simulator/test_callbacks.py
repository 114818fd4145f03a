"""Luma's callback rule: only exactly 200 counts, one attempt and three retries, 100 ms apart."""

import itertools
import socket

import httpx
import pytest
from lumaai import LumaAI

from service.simulator import Luma, ManualClock, Plan, Simulator
from tests.simulator.receiver import HANG, Receiver


def test_dreaming_and_the_outcome_are_told_and_queued_is_not(
    luma: Luma, receiver: Receiver
) -> None:
    luma.create(callback_url=receiver.url)
    luma.advance(0)
    assert receiver.received == []
    luma.advance(0.5)
    assert receiver.states == ["dreaming"]
    luma.advance(2.0)
    assert receiver.states == ["dreaming", "completed"]


def test_one_advance_past_several_states_tells_them_all_in_order(
    luma: Luma, receiver: Receiver
) -> None:
    plan = Plan(states=("queued", "moderating", "dreaming"), outcome="failed")
    luma.create(callback_url=receiver.url, plan=plan)
    luma.advance(60)
    assert receiver.states == ["moderating", "dreaming", "failed"]


def test_the_body_is_what_get_answers_byte_for_byte(luma: Luma, receiver: Receiver) -> None:
    made = luma.create(callback_url=receiver.url, prompt="grüner See")
    luma.advance(2.5)
    got = httpx.get(
        f"{luma.dream_machine_url}/generations/{made}",
        headers={"Authorization": "Bearer key"},
        trust_env=False,
    )
    last = receiver.received[-1]
    assert last.raw == got.content
    assert last.content_type == "application/json"
    assert last.path == "/hook?job=1"
    assert last.body["request"]["callback_url"] == receiver.url


def test_every_operation_calls_back(luma: Luma, sdk: LumaAI, receiver: Receiver) -> None:
    parent = luma.create()
    sdk.generations.image.create(model="photon-1", prompt="a lake", callback_url=receiver.url)
    sdk.generations.upscale(parent, callback_url=receiver.url)
    sdk.generations.audio(parent, callback_url=receiver.url)
    luma.advance(2.5)
    done = [each.body for each in receiver.received if each.body["state"] == "completed"]
    operations = {each["request"]["generation_type"] for each in done}
    assert operations == {"image", "upscale_video", "add_audio"}


def test_200_is_accepted_at_once(luma: Luma, receiver: Receiver) -> None:
    made = luma.create(callback_url=receiver.url, plan=Plan(states=("queued",)))
    luma.advance(0.5)
    assert len(receiver.received) == 1
    attempt = luma.attempts[0]
    assert (attempt.url, attempt.generation_id) == (receiver.url, made)
    assert (attempt.state, attempt.attempt, attempt.status) == ("completed", 1, 200)


@pytest.mark.parametrize("status", [201, 204, 302, 404, 500])
def test_anything_but_200_is_tried_four_times_and_then_lost(
    status: int, luma: Luma, receiver: Receiver
) -> None:
    receiver.usual = status
    luma.create(callback_url=receiver.url, plan=Plan(states=("queued",)))
    luma.advance(0.5)
    assert [each.status for each in luma.attempts] == [status] * 4
    assert [each.attempt for each in luma.attempts] == [1, 2, 3, 4]
    assert {each.path for each in receiver.received} == {"/hook?job=1"}, "no redirect is followed"


def test_retries_are_100_ms_apart_and_stop_at_the_first_200(luma: Luma, receiver: Receiver) -> None:
    receiver.answers.extend([500, 503])
    luma.create(callback_url=receiver.url, plan=Plan(states=("queued",)))
    luma.advance(0.5)
    assert [each.status for each in luma.attempts] == [500, 503, 200]
    pauses = [after.at - before.at for before, after in itertools.pairwise(luma.attempts)]
    assert all(pause >= 0.1 for pause in pauses)


def test_a_receiver_that_does_not_answer_in_time_is_tried_again(receiver: Receiver) -> None:
    receiver.answers.append(HANG)
    with Simulator(clock=ManualClock(), callback_timeout=0.5).running() as luma:
        luma.create(callback_url=receiver.url, plan=Plan(states=("queued",)))
        luma.advance(0.5)
        assert [each.status for each in luma.attempts] == [None, 200]


def test_a_refused_connection_is_tried_four_times(luma: Luma) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/"
        luma.create(callback_url=url, plan=Plan(states=("queued",)))
        luma.advance(0.5)
    assert [each.status for each in luma.attempts] == [None] * 4


def test_a_url_that_is_not_http_fails_like_a_dead_one(luma: Luma) -> None:
    luma.create(callback_url="ftp://127.0.0.1/", plan=Plan(states=("queued",)))
    luma.advance(0.5)
    assert [each.status for each in luma.attempts] == [None] * 4


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1:99999/",
        "http://[::1",
        "nowhere",
    ],
)
def test_no_host_but_this_one_is_ever_called(url: str, luma: Luma) -> None:
    """Such a callback is recorded as one attempt that was not sent."""
    luma.create(callback_url=url, plan=Plan(states=("queued",)))
    luma.advance(0.5)
    assert [(each.attempt, each.status) for each in luma.attempts] == [(1, None)]


def test_the_next_state_waits_until_the_one_before_is_through(
    luma: Luma, receiver: Receiver
) -> None:
    receiver.answers.extend([500, 500, 500, 500])
    luma.create(callback_url=receiver.url)
    luma.advance(2.5)
    assert receiver.states == ["dreaming"] * 4 + ["completed"]


def test_generations_do_not_wait_for_each_other(luma: Luma, receiver: Receiver) -> None:
    slow = luma.create(callback_url="http://127.0.0.1:1/", plan=Plan(states=("queued",)))
    quick = luma.create(callback_url=receiver.url, plan=Plan(states=("queued",)))
    luma.advance(0.5)
    order = [each.generation_id for each in luma.attempts]
    assert order.index(quick) < len(order) - 1
    assert order.count(slow) == 4


def test_callbacks_may_repeat(receiver: Receiver) -> None:
    with Simulator(clock=ManualClock(), repeat_callbacks=2).running() as luma:
        luma.create(callback_url=receiver.url)
        luma.advance(2.5)
    assert receiver.states == ["dreaming", "dreaming", "completed", "completed"]


def test_callbacks_may_come_in_the_wrong_order(receiver: Receiver) -> None:
    with Simulator(clock=ManualClock(), reorder_callbacks=True).running() as luma:
        luma.create(callback_url=receiver.url)
        luma.advance(0.5)
        assert receiver.states == []
        luma.advance(2.0)
    assert receiver.states == ["completed", "dreaming"]
    assert receiver.received[1].body["assets"] is None, "the late one tells the past"


def test_the_manners_can_be_changed_while_it_runs(luma: Luma, receiver: Receiver) -> None:
    luma.repeat_callbacks = 3
    luma.reorder_callbacks = True
    luma.create(callback_url=receiver.url)
    luma.advance(2.5)
    assert receiver.states == ["completed"] * 3 + ["dreaming"] * 3
    assert (luma.repeat_callbacks, luma.reorder_callbacks) == (3, True)


def test_callbacks_can_be_switched_off(luma: Luma, receiver: Receiver) -> None:
    luma.deliver_callbacks = False
    luma.create(callback_url=receiver.url)
    luma.advance(2.5)
    assert luma.deliver_callbacks is False
    assert luma.attempts == []


def test_an_instant_plan_calls_back_by_itself(luma: Luma, receiver: Receiver) -> None:
    luma.create(callback_url=receiver.url, plan=Plan(queued=0, dreaming=0))
    luma.advance(0)
    assert receiver.states == ["dreaming", "completed"]


def test_a_synchronous_image_calls_back_too(luma: Luma, sdk: LumaAI, receiver: Receiver) -> None:
    sdk.generations.image.create(
        model="photon-1", prompt="a lake", sync=True, callback_url=receiver.url
    )
    luma.advance(0)
    assert receiver.states == ["dreaming", "completed"]


def test_the_wait_for_callbacks_is_bounded_and_names_the_late_ones(
    luma: Luma, receiver: Receiver
) -> None:
    receiver.usual = HANG
    made = luma.create(callback_url=receiver.url)
    with pytest.raises(TimeoutError, match=made):
        luma.advance(0.5, within=0.05)
