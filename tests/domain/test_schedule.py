"""Checks: immediate for claims, and less and less frequent for rows without news."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.durations import ASSUMED, Estimates
from service.domain.generation import Generation, Source
from service.domain.schedule import OpenRow, choose, next_check

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
VIDEO = {"video": "https://cdn/video.mp4"}
LOW, HIGH = 0.9, 1.1  # the bounds of the jitter


def generation(state: str = "dreaming", **given: Any) -> Generation:
    """Return a row that was first seen at noon."""
    values: dict[str, Any] = {
        "id": "a",
        "upstream": "dream_machine",
        "state": state,
        "generation_type": "video",
        "operation": "video",
        "model": "ray-2",
        "prompt": None,
        "created_at": NOON,
        "failure_reason": None,
        "failure_code": None,
        "assets": {},
        "outputs": (),
        "assets_expire_at": None,
        "request": None,
        "rev": 1,
        "source": Source.CALLBACK,
        "verified": False,
        "first_seen_at": NOON,
        "updated_at": NOON,
        "heard_at": NOON,
        "finished_at": None,
    }
    return Generation(**{**values, **given})


def pause(row: Generation, checks: int, now: datetime = NOON) -> float:
    """Return the seconds until the next check."""
    at = next_check(row, now, checks)
    assert at is not None
    return (at - now).total_seconds()


def pauses(row: Generation, checks: int, now: datetime = NOON) -> list[float]:
    """Sample the seconds until the next check many times, because they are random."""
    return [pause(row, checks, now) for _ in range(200)]


def about(seconds: float, found: list[float]) -> bool:
    """Whether all samples are within the jitter of the interval, and spread over its range."""
    inside = all(seconds * LOW <= each <= seconds * HIGH for each in found)
    return inside and max(found) - min(found) > 0.1 * seconds


@pytest.mark.parametrize(
    "row",
    [
        generation("completed", assets=VIDEO, verified=True),
        generation("failed", verified=True),
        generation("failed", verified=True, failure_reason="moderated"),
    ],
)
@pytest.mark.parametrize("checks", [0, 1, 7])
def test_what_is_final_and_confirmed_is_never_asked_about(row: Generation, checks: int) -> None:
    assert next_check(row, NOON, checks) is None
    assert next_check(row, NOON + timedelta(days=400), checks) is None


@pytest.mark.parametrize("state", ["queued", "completed"])
@pytest.mark.parametrize("checks", [1, 2, 50])
def test_what_is_gone_is_asked_about_once_a_day_and_then_more_rarely(
    state: str, checks: int
) -> None:
    row = generation(state, gone_at=NOON, missing_since=NOON)
    for days, least, most in ((0, 0.9, 1.1), (1, 0.9, 1.1), (4, 3.6, 4.4), (400, 6.3, 7.7)):
        due = next_check(row, NOON + timedelta(days=days), checks)
        assert due
        assert least <= (due - NOON).total_seconds() / 86_400 - days <= most


@pytest.mark.parametrize("state", ["queued", "completed"])
def test_what_luma_does_not_know_is_asked_about_once_more_within_a_minute(state: str) -> None:
    due = next_check(generation(state, verified=True, missing_since=NOON), NOON, 1)
    assert due
    assert 30 < (due - NOON).total_seconds() <= 60


@pytest.mark.parametrize("state", ["queued", "completed"])
def test_news_about_what_luma_did_not_know_are_asked_about_at_once(state: str) -> None:
    assert pause(generation(state, gone_at=NOON), 0) == 0


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_a_claim_of_a_final_state_is_asked_about_at_once(state: str) -> None:
    assert pause(generation(state, assets=VIDEO), 0) == 0


def test_a_claim_that_could_not_be_confirmed_is_asked_about_again_a_little_later() -> None:
    assert about(2, pauses(generation("completed", assets=VIDEO), 1))


def test_completed_without_any_asset_is_asked_about_even_when_confirmed() -> None:
    assert next_check(generation("completed", verified=True), NOON, 1) is not None


@pytest.mark.parametrize(("kind", "usual"), [("video", 40), ("image", 10), (None, 40), ("new", 40)])
def test_the_first_question_comes_when_such_a_job_usually_ends(
    kind: str | None, usual: float
) -> None:
    assert about(usual, pauses(generation(generation_type=kind), 0))


def test_the_first_question_is_counted_from_the_creation() -> None:
    assert about(15, pauses(generation(created_at=NOON - timedelta(seconds=25)), 0))


def test_without_a_creation_it_is_counted_from_when_we_first_heard_of_it() -> None:
    row = generation(created_at=None)
    assert about(30, pauses(row, 0, NOON + timedelta(seconds=10)))


@pytest.mark.parametrize("age", [39, 60, 3000, 10**7])
def test_the_first_question_about_an_old_one_comes_soon_but_not_at_once(age: float) -> None:
    assert about(2, pauses(generation(created_at=NOON - timedelta(seconds=age)), 0))


def test_questions_that_bring_nothing_come_more_and_more_rarely_from_2_s_to_60_s() -> None:
    found = [mean(pauses(generation(), checks)) for checks in range(1, 13)]
    assert found[0] == pytest.approx(2, rel=0.05)
    assert all(later > earlier * 1.2 for earlier, later in pairwise(found[:8]))
    assert found[-1] == pytest.approx(60, rel=0.05)


@pytest.mark.parametrize("checks", [1, 5, 9, 15, 40, 1000, 10**6])
def test_every_pause_is_jittered_by_a_tenth_at_most_and_never_above_66_s(checks: int) -> None:
    found = pauses(generation(), checks)
    assert len(set(found)) > 150
    assert 1.1 < max(found) / min(found) <= HIGH / LOW
    assert min(found) >= 2 * LOW
    assert max(found) <= 60 * HIGH


@pytest.mark.parametrize("hours", [1.1, 10, 24])
def test_what_is_most_likely_lost_is_asked_about_rarer_still(hours: float) -> None:
    now = NOON + timedelta(hours=hours)
    assert about(hours * 360, pauses(generation(), 30, now))


def test_but_at_least_every_few_hours() -> None:
    now = NOON + timedelta(days=300)
    assert about(6 * 3600, pauses(generation(), 1000, now))


@pytest.mark.parametrize("checks", range(0, 30, 3))
@pytest.mark.parametrize("state", ["queued", "dreaming", "something new", "unknown"])
def test_an_open_row_always_has_a_next_question_and_it_is_not_a_burst(
    state: str, checks: int
) -> None:
    assert min(pauses(generation(state), checks)) >= 2 * LOW


def polled(**given: Any) -> Generation:
    """Return a row of the upstream that has no callbacks."""
    values = {"upstream": "agents", "operation": "video", "model": "ray-3.2"}
    return generation(**{**values, **given})


def open_row(name: str, heard: float, **given: Any) -> OpenRow:
    """Return a row that is due at noon, and was last answered `heard` seconds before."""
    row = polled(id=name, heard_at=NOON - timedelta(seconds=heard), next_check_at=NOON, **given)
    return OpenRow(**{field: getattr(row, field) for field in OpenRow._fields})


def old(seconds: float) -> dict[str, datetime]:
    """Return when a generation of that age was created."""
    at = NOON - timedelta(seconds=seconds)
    return {"created_at": at, "first_seen_at": at}


def usually(bucket: int, kind: str) -> Estimates:
    """Return estimates of a kind of which a hundred took the same time."""
    return Estimates(lambda _kinds: {kind: {bucket: 100}})


def chosen(*rows: OpenRow, limit: int = 10, per_second: float = 0.5, **given: Any) -> list[str]:
    estimates = given.get("estimates", ASSUMED)
    return [row.id for row in choose(rows, NOON, limit, per_second, estimates)]


def test_without_callbacks_the_first_check_comes_when_such_a_generation_may_have_ended() -> None:
    assumed = pause(polled(), 0)
    due = next_check(polled(), NOON, 0, usually(16, "agents/video/ray-3.2"))  # about 8 seconds
    assert due
    assert 1 <= (due - NOON).total_seconds() < 8 < assumed
    assert pause(polled(operation="image", generation_type="image"), 0) < assumed


def test_without_callbacks_an_answer_delays_the_next_check_by_seconds_when_it_may_end_now() -> None:
    soon = polled(created_at=NOON - timedelta(seconds=60))
    assert 1 <= pause(soon, 5) < 3


def test_without_callbacks_what_is_most_likely_lost_is_asked_about_rarely_too() -> None:
    assert about(2 * 360, pauses(polled(), 30, NOON + timedelta(hours=2)))


@given(
    age=st.floats(0, 3599),
    bucket=st.integers(0, 59),
    count=st.integers(0, 10**6),
    checks=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_without_callbacks_every_pause_is_between_a_second_and_a_minute(
    age: float, bucket: int, count: int, checks: int
) -> None:
    estimates = Estimates(lambda kinds: {kinds[-1]: {bucket: count}})
    now = NOON + timedelta(seconds=age)
    due = next_check(polled(first_seen_at=NOON), now, checks, estimates)
    assert due
    assert 1 <= (due - now).total_seconds() <= 60


def test_who_gains_most_is_asked_about_first() -> None:
    likely, unlikely = open_row("likely", 20, **old(70)), open_row("unlikely", 20, **old(25))
    assert chosen(unlikely, likely, limit=1) == ["likely"]
    just_asked = open_row("just asked", 2, **old(70))
    assert chosen(just_asked, likely, limit=1) == ["likely"]


def test_what_has_ended_almost_certainly_comes_first_the_longest_unheard_at_the_head() -> None:
    rows = [open_row(str(heard), heard, **old(3000)) for heard in (2400, 2900, 2600)]
    assert chosen(open_row("likely", 40, **old(75)), *rows) == ["2900", "2600", "2400", "likely"]


def test_what_gains_less_than_a_request_costs_leaves_it_to_others() -> None:
    little = open_row("little", 2, **old(60))
    assert chosen(little) == ["little"]
    others = [open_row(f"{n}", 0, **old(60)) for n in range(40)]
    assert chosen(little, *others) == []
    assert chosen(little, *others, per_second=50) == ["little"]


def test_what_is_not_due_is_not_asked_about_but_counts_as_demand() -> None:
    ahead = open_row("ahead", 3000, **old(3001))._replace(next_check_at=NOON + timedelta(seconds=1))
    assert chosen(ahead) == []


@given(
    st.lists(st.tuples(st.floats(0, 10_000), st.floats(0, 10_000)), max_size=40),
    st.integers(0, 50),
)
@settings(max_examples=60, deadline=None)
def test_a_choice_is_of_due_rows_each_once_and_no_more_than_allowed(
    ages: list[tuple[float, float]], limit: int
) -> None:
    rows = [open_row(str(n), heard, **old(age)) for n, (age, heard) in enumerate(ages)]
    found = chosen(*rows, limit=limit)
    assert len(found) == len(set(found)) <= limit
    assert set(found) <= {row.id for row in rows}
