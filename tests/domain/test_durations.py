"""How long generations take: a sound distribution whatever was counted, and honest learning."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.durations import ASSUMED, Counts, Durations, Estimates, age, kinds, learnt
from service.domain.generation import Generation
from tests.domain.test_schedule import NOON, polled

COUNTS = st.dictionaries(st.integers(0, 59), st.integers(0, 10**9), max_size=20)
AGES = st.floats(0, 10**6)
KIND = "agents/video/ray-3.2"


def durations(counts: dict[int, int], row: Generation | None = None) -> Durations:
    return Estimates(lambda wanted: {wanted[-1]: counts}).of(row or polled())


def ended_by(found: Durations, seconds: float) -> float:
    """Return the share that has ended by an age."""
    return 1 - math.exp(-found.cumulative_hazard(seconds))


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (None, ["agents/video", KIND]),
        ({}, ["agents/video", KIND]),
        ({"video": {"duration": "5s"}}, ["agents/video", KIND, f"{KIND}/5s"]),
        (
            {"video": {"resolution": "1080p", "duration": "10s"}},
            ["agents/video", KIND, f"{KIND}/1080p/10s"],
        ),
        ({"resolution": "2k"}, ["agents/video", KIND, f"{KIND}/2k"]),
        ({"video": [], "resolution": 7, "duration": None}, ["agents/video", KIND]),
        ({"resolution": "x" * 1000}, ["agents/video", KIND, f"{KIND}/{'x' * 40}"]),
    ],
)
def test_a_kind_is_an_operation_a_model_and_what_was_ordered(
    request_: dict[str, Any] | None, wanted: list[str]
) -> None:
    assert list(kinds(polled(request=request_))) == wanted


def test_age_is_counted_from_the_creation_unless_luma_s_clock_is_ahead() -> None:
    minute = timedelta(minutes=1)
    assert age(polled(created_at=NOON - minute), NOON) == 60
    assert age(polled(created_at=None), NOON + minute) == 60
    assert age(polled(created_at=NOON + minute), NOON + minute) == 60
    assert age(polled(), NOON - minute) == 0


@given(COUNTS, st.lists(AGES, min_size=2, max_size=20))
@settings(max_examples=100, deadline=None)
def test_the_hazard_is_positive_and_sums_up(counts: dict[int, int], ages: list[float]) -> None:
    found = durations(counts)
    ages.sort()
    assert all(found.hazard(each) > 0 for each in ages)
    sums = [found.cumulative_hazard(each) for each in ages]
    assert all(later >= earlier >= 0 for earlier, later in pairwise(sums))
    assert all(math.isfinite(each) for each in sums)


@given(COUNTS, AGES, AGES)
@settings(max_examples=100, deadline=None)
def test_a_draw_is_within_the_interval(counts: dict[int, int], one: float, other: float) -> None:
    after, until = sorted((one, other))
    found = durations(counts)
    drawn = found.draw(after, until)
    assert found.draw(after, after) <= drawn <= found.draw(until, until)


def test_few_counts_borrow_from_the_model_and_that_from_the_operation() -> None:
    minute, fast = 30, 15
    row = polled(request={"video": {"duration": "5s"}})
    general: Counts = {"agents/video": {minute: 500}}
    borrowed = Estimates(lambda _: general).of(row)
    assert ended_by(ASSUMED.of(row), 40) > 2 * ended_by(borrowed, 40)
    one = Estimates(lambda _: {**general, f"{KIND}/5s": {fast: 1}}).of(row)
    many = Estimates(lambda _: {**general, f"{KIND}/5s": {fast: 500}}).of(row)
    assert ended_by(borrowed, 20) < ended_by(one, 20) < 0.3
    assert ended_by(many, 20) > 0.9


def test_an_image_is_assumed_to_be_faster_than_a_video() -> None:
    image = polled(operation="image_edit", generation_type="image", model="uni-1")
    assert ended_by(ASSUMED.of(image), 20) == pytest.approx(0.5, abs=0.05)
    assert ended_by(ASSUMED.of(polled()), 20) < 0.1
    assert ended_by(ASSUMED.of(polled(generation_type=None)), 70) == pytest.approx(0.5, abs=0.05)


def test_estimates_are_made_once_for_each_kind() -> None:
    asked = Counter[tuple[str, ...]]()

    def load(wanted: Any) -> Counts:
        asked[tuple(wanted)] += 1
        return {}

    estimates = Estimates(load)
    for model in ("a", "b", "a"):
        estimates.of(polled(model=model))
    assert asked == {("agents/video", "agents/video/a"): 1, ("agents/video", "agents/video/b"): 1}


def test_draws_between_two_answers_follow_what_is_known() -> None:
    found = durations({30: 10_000})
    assert all(27 <= found.draw(0, 1000) <= 33 for _ in range(100))


ENDED = NOON + timedelta(seconds=60)
HEARD = NOON + timedelta(seconds=50)


def ended(**given: Any) -> Generation:
    return polled(state="completed", verified=True, **given)


def test_a_generation_ended_between_the_last_two_answers() -> None:
    assert learnt(polled(heard_at=HEARD), ended(), ENDED) == (50, 60)
    assert learnt(polled(heard_at=HEARD), ended()._replace(state="failed"), ENDED) == (50, 60)


@pytest.mark.parametrize(
    ("before", "after", "at"),
    [
        pytest.param(None, ended(), ENDED, id="never seen open, as in a backfill"),
        pytest.param(ended(), ended(), ENDED, id="known before"),
        pytest.param(polled(), polled(), ENDED, id="still open"),
        pytest.param(polled(), ended()._replace(verified=False), ENDED, id="a claim"),
        pytest.param(polled(), ended(), NOON + timedelta(hours=2), id="old"),
        pytest.param(
            polled(upstream="dream_machine"),
            ended(upstream="dream_machine"),
            ENDED,
            id="with callbacks",
        ),
    ],
)
def test_nothing_is_learnt_from_what_says_nothing(
    before: Generation | None, after: Generation, at: datetime
) -> None:
    assert learnt(before, after, at) is None


def test_clocks_that_disagree_give_no_negative_age() -> None:
    late = polled(heard_at=NOON + timedelta(hours=1))
    assert learnt(late, ended(), ENDED) == (60, 60)
    assert learnt(late, ended(), datetime(2020, 1, 1, tzinfo=UTC)) == (0, 0)
