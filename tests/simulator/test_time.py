"""When transitions happen: by a manual clock, or by the real one."""

from datetime import UTC, datetime, timedelta

import pytest

from service.simulator import Luma, ManualClock, Plan, RealClock, Simulator
from service.simulator.world import World
from tests.waiting import until


def test_nothing_moves_before_its_time(luma: Luma) -> None:
    made = luma.create(plan=Plan(queued=1, dreaming=2))
    states = []
    for seconds in (0.999, 0.001, 1.999, 0.001):
        luma.advance(seconds)
        states.append(luma.body(made)["state"])
    assert states == ["queued", "dreaming", "dreaming", "completed"]


def test_unknown_states_may_come_between(luma: Luma) -> None:
    made = luma.create(plan=Plan(queued=1, dreaming=2, states=("queued", "moderating", "dreaming")))
    states = []
    for seconds in (1, 2, 2):
        luma.advance(seconds)
        states.append(luma.body(made)["state"])
    assert states == ["moderating", "dreaming", "completed"]


def test_queued_may_fail_directly(luma: Luma) -> None:
    plan = Plan(outcome="failed", failure_reason="Contains blacklisted words", states=("queued",))
    made = luma.create(plan=plan)
    luma.advance(0.5)
    body = luma.body(made)
    assert (body["state"], body["failure_reason"]) == ("failed", "Contains blacklisted words")


def test_the_plan_is_chosen_by_the_prompt() -> None:
    plans = {"forbidden": Plan(outcome="failed"), "slow": Plan(queued=100)}
    simulator = Simulator(clock=ManualClock(), default_plan=Plan(queued=1), plans=plans)
    with simulator.running() as luma:
        ids = [luma.create(prompt=prompt) for prompt in ("a forbidden lake", "slow", "a lake")]
        luma.advance(10)
        assert [luma.body(made)["state"] for made in ids] == ["failed", "queued", "completed"]


def test_a_manual_clock_does_not_run_backwards() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    assert clock.now() == ManualClock().now()


def test_a_manual_clock_can_start_anywhere() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with Simulator(clock=ManualClock(start)).running() as luma:
        assert luma.body(luma.create())["created_at"] == "2026-01-01T00:00:00.000000Z"


def test_the_real_clock_moves_generations_by_itself() -> None:
    with Simulator().running() as luma:
        late = luma.create(plan=Plan(queued=60))
        made = luma.create(plan=Plan(queued=0.02, dreaming=0.02))
        until(lambda: luma.body(made)["state"] == "completed")
        assert luma.body(late)["state"] == "queued"


def test_the_real_clock_cannot_be_advanced() -> None:
    with Simulator().running() as luma, pytest.raises(TypeError, match="ManualClock"):
        luma.advance(1)


def test_the_real_clock_never_waits_for_the_past() -> None:
    clock = RealClock()
    assert clock.seconds_until(clock.now() - timedelta(seconds=5)) == 0


def test_transitions_come_in_the_order_of_time_across_generations() -> None:
    world, start = World(), ManualClock().now()
    for name, queued in (("slow", 3.0), ("quick", 1.0)):
        world.create(
            "dream_machine",
            "video",
            "ray-2",
            {},
            now=start,
            generation_id=name,
            plan=Plan(queued, dreaming=1),
        )
    moved = [(each.id, each.state) for each in world.make_transitions(start + timedelta(seconds=4))]
    assert moved == [
        ("quick", "dreaming"),
        ("quick", "completed"),
        ("slow", "dreaming"),
        ("slow", "completed"),
    ]
    assert world.next_due() is None
