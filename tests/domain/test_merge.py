"""Merging: the same observations make the same row, in any order and with repetitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.generation import Generation, Observation, Outcome, Source, is_stale, rank
from service.domain.merge import merge
from tests.thoroughness import rounds

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
CREATED = NOON - timedelta(minutes=1)

VIDEO = {"video": "https://cdn/video.mp4", "image": "https://cdn/thumb.jpg"}
PROGRESS = {"progress_video": "https://cdn/partial.mp4"}
REQUEST = {"prompt": "a lake", "model": "ray-2"}
STATIC: dict[str, Any] = {
    "generation_type": "video",
    "operation": "video",
    "model": "ray-2",
    "prompt": "a lake",
    "created_at": CREATED,
    "request": REQUEST,
}
MISSING: list[set[str]] = [
    set(),
    {"assets"},
    {"failure_reason", "prompt"},
    {"request", "prompt", "operation"},
    {*STATIC},
    {*STATIC, "failure_reason", "assets"},
]
ORDER_DEPENDENT = {
    "rev",
    "source",
    "verified",
    "first_seen_at",
    "updated_at",
    "heard_at",
    "finished_at",
}
"""Fields that depend on how and when observations arrive, and so may depend on their order."""

properties = settings(
    max_examples=rounds(30, 100),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


# --- One generation's life, as Luma lives it, and what of it reaches us ------------------------


@dataclass(frozen=True)
class Moment:
    """The true state of the generation between two of its changes."""

    state: str
    assets: Mapping[str, str]
    failure_reason: str | None = None


OUTCOMES = [
    [Moment("completed", VIDEO)],
    [Moment("completed", {}), Moment("completed", VIDEO)],
    [Moment("failed", {}, "Frame moderation failed")],
]


@dataclass(frozen=True)
class Arrival:
    """An observation of one moment."""

    moment: int
    seen: Observation
    asked: int = 0
    """For a fetch with `asked_at_rev`: the preferred number of observations before the request."""


@st.composite
def lives(draw: st.DrawFn) -> list[Moment]:
    """Draw a life: queued, dreaming, maybe a partial render, unknown states, an end."""
    usual = [Moment("queued", {}), Moment("dreaming", {}), Moment("dreaming", PROGRESS)]
    unusual = [Moment("moderating", {}), Moment("polishing", {}), Moment("polishing", PROGRESS)]
    life = usual[draw(st.integers(0, 2)) :] + unusual[draw(st.integers(0, 3)) :]
    return life + draw(st.sampled_from(OUTCOMES))


@st.composite
def arrivals(draw: st.DrawFn, life: list[Moment], *, stateless: bool = False) -> Arrival:
    """Draw a callback or a fetch of some moment. A callback may lack any field but the id.

    A fetch is complete, because a verified terminal row takes nothing from callbacks, not even
    missing fields.
    """
    index = draw(st.integers(0, len(life) - 1))
    moment = life[index]
    source = draw(st.sampled_from([Source.CALLBACK, Source.CALLBACK, Source.FETCH]))
    left_out = draw(st.sampled_from(MISSING)) if source is Source.CALLBACK else set()
    said = {**STATIC, "failure_reason": moment.failure_reason, "assets": moment.assets}
    seen = Observation(
        id="a",
        upstream="dream_machine",
        source=source,
        state=moment.state,
        **{name: value for name, value in said.items() if name not in left_out},
    )
    if stateless and draw(st.booleans()):
        seen = seen._replace(state=None)
    if seen.authenticated and draw(st.booleans()):
        seen = seen._replace(asked_at_rev=0)  # to be filled in: it depends on the order
    return Arrival(index, seen, draw(st.integers(0, 6)))


def arrive(tellings: Sequence[Arrival]) -> Generation:
    """Fold in this order.

    A fetch with `asked_at_rev` was requested when the row had that rev. It must not be older than
    what the row knew then.
    """
    row: Generation | None = None
    revs, known = [0], [-1]
    for count, told in enumerate(tellings):
        seen = told.seen
        if seen.asked_at_rev is not None:
            asked = min(told.asked, count)
            while known[asked] > told.moment:
                asked -= 1
            seen = seen._replace(asked_at_rev=revs[asked])
        row, _ = merge(row, seen, NOON + timedelta(seconds=count))
        revs.append(row.rev)
        known.append(max(known[-1], told.moment))
    assert row is not None
    return row


def lasting(row: Generation) -> dict[str, Any]:
    """Return the fields of a row that must not depend on the order."""
    return {k: v for k, v in row._asdict().items() if k not in ORDER_DEPENDENT}


@st.composite
def histories(
    draw: st.DrawFn, *, ended: bool, stateless: bool = False
) -> tuple[list[Arrival], list[Arrival]]:
    """Draw the same observations twice: in one order, and in another one with repetitions."""
    life = draw(lives())
    if not ended:
        life = [moment for moment in life if rank(moment.state) < 3]
    told = draw(st.lists(arrivals(life, stateless=stateless), min_size=1, max_size=6))
    if ended:
        last = draw(arrivals(life[-1:]))
        told.append(replace(last, moment=len(life) - 1))
    again = told + [told[i] for i in draw(st.lists(st.integers(0, len(told) - 1), max_size=4))]
    return draw(st.permutations(told)), draw(st.permutations(again))


@properties
@given(histories(ended=True))
def test_a_finished_generation_ends_in_the_same_row_in_whatever_order_it_is_told(
    orders: tuple[list[Arrival], list[Arrival]],
) -> None:
    one, other = (arrive(order) for order in orders)
    assert lasting(one) == lasting(other)
    assert one.terminal
    assert one.finished_at is not None


@properties
@given(histories(ended=True))
def test_a_finished_generation_is_verified_exactly_if_luma_itself_has_said_so(
    orders: tuple[list[Arrival], list[Arrival]],
) -> None:
    for order in orders:
        confirmed = [t for t in order if t.seen.authenticated and rank(t.seen.state or "") == 3]
        assert arrive(order).verified is bool(confirmed)


@properties
@given(histories(ended=False))
def test_an_open_generation_is_in_the_same_row_in_whatever_order_it_is_told(
    orders: tuple[list[Arrival], list[Arrival]],
) -> None:
    one, other = (arrive(order) for order in orders)
    assert lasting(one) == lasting(other)
    assert not one.terminal
    assert one.finished_at is None


@properties
@given(histories(ended=True, stateless=True))
def test_a_body_that_says_no_state_does_not_make_the_order_matter(
    orders: tuple[list[Arrival], list[Arrival]],
) -> None:
    one, other = (arrive(order) for order in orders)
    assert lasting(one) == lasting(other)


# --- Anything at all, true or not --------------------------------------------------------------

ASSETS = st.sampled_from(
    [{}, PROGRESS, VIDEO, {"video": "https://cdn/1"}, {"video": "https://cdn/2"}]
)
OUTPUTS = st.sampled_from(
    [(), ({"type": "image", "url": "https://cdn/1"},), ({"type": "image", "url": "https://cdn/2"},)]
)
WORDS = st.none() | st.sampled_from(["one", "other"])
STATES = st.sampled_from(
    [None, "unknown", "queued", "dreaming", "processing", "moderating", "zz", "completed", "failed"]
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """Draw any observation of the generation, true or not."""
    return Observation(
        id="a",
        upstream="dream_machine",
        source=draw(st.sampled_from(Source)),
        state=draw(STATES),
        model=draw(WORDS),
        prompt=draw(WORDS),
        created_at=draw(st.sampled_from([None, CREATED, NOON])),
        failure_reason=draw(WORDS),
        failure_code=draw(WORDS),
        assets=draw(ASSETS),
        outputs=draw(OUTPUTS),
        assets_expire_at=draw(st.sampled_from([None, NOON + timedelta(hours=1)])),
        request=draw(st.sampled_from([None, REQUEST, {"prompt": "another"}])),
        gone=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def steps(draw: st.DrawFn) -> tuple[Generation, Observation]:
    """Draw a row with a history, and the next observation. A fetch has some earlier rev."""
    row, _ = merge(None, draw(observations()), NOON)
    for seen in draw(st.lists(observations(), max_size=3)):
        asked = draw(st.none() | st.integers(0, row.rev))
        row, _ = merge(row, seen._replace(asked_at_rev=asked), NOON)
    asked = draw(st.none() | st.integers(0, row.rev))
    return row, draw(observations())._replace(asked_at_rev=asked)


def shown(row: Generation) -> dict[str, Any]:
    """Return what users see, without the fields that only record that something changed.

    Signatures of presigned URLs are ignored.
    """
    seen = row._asdict()
    recorded = ("rev", "source", "updated_at", "heard_at", "finished_at", "first_seen_at")
    for name in (*recorded, "missing_since"):
        del seen[name]
    if seen.pop("assets_expire_at"):
        seen["assets"] = dict.fromkeys(row.assets, "")
        seen["outputs"] = tuple({**output, "url": ""} for output in row.outputs)
    return seen


@properties
@given(steps())
def test_rev_rises_by_one_exactly_if_what_users_see_has_changed(
    step: tuple[Generation, Observation],
) -> None:
    row, seen = step
    after, outcome = merge(row, seen, NOON + timedelta(seconds=1))
    changed = shown(after) != shown(row)
    assert after.rev == row.rev + changed
    assert (outcome is Outcome.APPLIED) is changed
    if changed:
        assert (after.source, after.updated_at) == (seen.source, NOON + timedelta(seconds=1))
    else:
        assert (after.source, after.updated_at) == (row.source, row.updated_at)


@properties
@given(steps())
def test_a_rank_falls_only_to_luma_itself_asked_after_an_unverified_state(
    step: tuple[Generation, Observation],
) -> None:
    row, seen = step
    after, _ = merge(row, seen, NOON)
    if rank(after.state) < rank(row.state) and seen.upstream == row.upstream:
        assert not row.verified
        assert seen.authenticated
        assert seen.asked_at_rev == row.rev
        assert after.verified


@properties
@given(steps())
def test_the_same_said_twice_is_the_same_as_said_once(
    step: tuple[Generation, Observation],
) -> None:
    row, seen = step
    once, _ = merge(row, seen, NOON)
    twice, outcome = merge(once, seen, NOON)
    assert twice == once
    assert outcome is not Outcome.APPLIED


@properties
@given(steps())
def test_a_verified_end_is_immune_to_callbacks(step: tuple[Generation, Observation]) -> None:
    row, seen = step
    end = row._replace(state="completed", verified=True, finished_at=NOON)
    claim = seen._replace(source=Source.CALLBACK, gone=False)
    after, outcome = merge(end, claim, NOON)
    assert after == end
    assert outcome in (Outcome.UNCHANGED, Outcome.STALE)


@properties
@given(steps())
def test_a_verified_end_keeps_its_state_whatever_is_said(
    step: tuple[Generation, Observation],
) -> None:
    row, seen = step
    end = row._replace(state="failed", verified=True, finished_at=NOON)
    after, _ = merge(end, seen, NOON)
    assert (after.state, after.finished_at) == ("failed", NOON)


@properties
@given(steps())
def test_only_what_luma_itself_says_can_make_a_row_verified(
    step: tuple[Generation, Observation],
) -> None:
    row, seen = step
    after, _ = merge(row, seen, NOON)
    if after.verified and not row.verified:
        assert seen.authenticated


@properties
@given(steps())
def test_finished_at_is_there_exactly_while_the_state_is_terminal(
    step: tuple[Generation, Observation],
) -> None:
    row, seen = step
    after, _ = merge(row, seen, NOON)
    assert (after.finished_at is not None) is after.terminal


@properties
@given(steps())
def test_what_does_not_change_in_a_life_is_never_lost(
    step: tuple[Generation, Observation],
) -> None:
    row, seen = step
    after, _ = merge(row, seen, NOON)
    for name in STATIC:
        assert getattr(after, name) or not getattr(row, name)


# --- Single steps ------------------------------------------------------------------------------


def told(state: str | None, source: Source = Source.CALLBACK, **more: Any) -> Observation:
    """One observation."""
    more.setdefault("upstream", "dream_machine")
    return Observation(id="a", source=source, state=state, **more)


def folded(*tellings: Observation) -> Generation:
    """Fold observations, one second apart."""
    row: Generation | None = None
    for second, seen in enumerate(tellings):
        row, _ = merge(row, seen, NOON + timedelta(seconds=second))
    assert row is not None
    return row


LATER = NOON + timedelta(minutes=1)


def test_the_first_word_makes_a_row_of_rev_one() -> None:
    row, outcome = merge(None, told("dreaming", assets=PROGRESS, model="ray-2"), NOON)
    assert outcome is Outcome.APPLIED
    assert (row.rev, row.state, row.model) == (1, "dreaming", "ray-2")
    assert (row.assets, row.verified, row.source) == (PROGRESS, False, Source.CALLBACK)
    assert row.first_seen_at == row.updated_at == row.heard_at == NOON
    assert (row.finished_at, row.gone_at, row.parent_id) == (None, None, None)


def test_a_row_that_begins_with_its_end_is_finished_at_once() -> None:
    assert folded(told("failed")).finished_at == NOON


def test_a_state_that_was_not_told_is_unknown_and_gives_way_to_any_other() -> None:
    row = folded(told(None, prompt="a lake"))
    assert row.state == "unknown"
    after, outcome = merge(row, told("queued"), LATER)
    assert (after.state, after.prompt, outcome) == ("queued", "a lake", Outcome.APPLIED)


def test_a_lower_state_is_stale_but_fills_what_was_missing() -> None:
    row = folded(told("completed", assets=VIDEO))
    after, outcome = merge(row, told("dreaming"), LATER)
    assert (outcome, after.rev) == (Outcome.STALE, 1)
    after, outcome = merge(row, told("queued", prompt="a lake", assets=PROGRESS), LATER)
    assert (outcome, after.rev, after.state) == (Outcome.APPLIED, 2, "completed")
    assert (after.prompt, after.assets) == ("a lake", VIDEO)


def test_the_partial_render_goes_when_the_outcome_comes() -> None:
    row = folded(told("dreaming", assets=PROGRESS), told("completed", assets=VIDEO))
    assert row.assets == VIDEO


def test_a_newer_partial_render_takes_the_place_of_the_older() -> None:
    newer = {"progress_video": "https://cdn/more.mp4"}
    row = folded(told("dreaming", assets=PROGRESS), told("dreaming", assets=newer))
    assert (row.assets, row.rev) == (newer, 2)


def test_a_url_that_comes_after_its_state_fills_the_gap() -> None:
    row = folded(told("completed"), told("completed", assets=VIDEO))
    assert (row.assets, row.rev, row.finished_at) == (VIDEO, 2, NOON)


def test_a_state_that_nobody_knows_is_shown_and_ends_like_any_other() -> None:
    row = folded(told("moderating"), told("dreaming"))
    assert row.state == "moderating"
    assert folded(told("moderating"), told("completed")).state == "completed"


@pytest.mark.parametrize("states", [("rendering", "encoding"), ("encoding", "rendering")])
def test_between_open_states_of_a_rank_an_answer_asked_for_after_the_last_change_decides(
    states: tuple[str, str],
) -> None:
    """Whichever is earlier in the alphabet; so that a fetch shows what Luma says."""
    row: Generation | None = None
    for number, state in enumerate([*states, "dreaming"]):
        row, outcome = merge(row, told(state, Source.FETCH, asked_at_rev=number), NOON)
        assert (row.state, row.rev, row.verified) == (state, number + 1, True)
    assert row is not None
    late, outcome = merge(row, told("moderating", Source.BACKFILL), NOON)
    assert (late.state, outcome) == ("moderating", Outcome.APPLIED), "new to us, so it is shown"
    late, outcome = merge(late, told("dreaming", Source.FETCH, asked_at_rev=3), NOON)
    assert (late.state, outcome) == ("moderating", Outcome.STALE), "asked for before"


@pytest.mark.parametrize(
    ("before", "after"), [("dreaming", "queued"), ("completed", "failed"), ("failed", "dreaming")]
)
def test_an_answer_moves_no_verified_row_back_and_no_end(before: str, after: str) -> None:
    row = folded(told(before, Source.FETCH))
    same, outcome = merge(row, told(after, Source.FETCH, asked_at_rev=row.rev), LATER)
    assert (same.state, outcome) == (before, Outcome.STALE)


def test_an_answer_asked_for_after_an_unverified_end_overrules_it() -> None:
    claim = folded(told("completed", assets={"video": "https://evil"}))
    truth = told("dreaming", Source.FETCH, asked_at_rev=1)
    after, outcome = merge(claim, truth, LATER)
    assert (after.state, after.rev, outcome) == ("dreaming", 2, Outcome.APPLIED)
    assert (after.assets, after.verified, after.finished_at) == ({}, True, None)


def test_an_end_that_is_claimed_again_and_again_is_overruled_by_an_answer_to_the_first() -> None:
    """Callbacks with ever new URLs come faster than answers; the claim of the end is older."""
    first = folded(told("completed", assets={"video": "https://evil/1"}))
    latest = folded(*(told("completed", assets={"video": f"https://evil/{n}"}) for n in (1, 2, 3)))
    truth = told("dreaming", Source.FETCH, asked_at_rev=first.rev, asked_at_state=first.state)
    after, outcome = merge(latest, truth, LATER)
    assert (after.state, after.rev, outcome) == ("dreaming", 4, Outcome.APPLIED)
    assert (after.assets, after.verified) == ({}, True)


def test_an_answer_asked_for_before_the_end_was_claimed_does_not_overrule_it() -> None:
    claim = folded(told("dreaming"), told("completed", assets=VIDEO))
    older = told("dreaming", Source.FETCH, asked_at_rev=1, asked_at_state="dreaming")
    after, outcome = merge(claim, older, LATER)
    assert (after.state, after.verified, outcome) == ("completed", False, Outcome.STALE)


@pytest.mark.parametrize("asked", [0, None])
def test_an_answer_asked_for_before_the_callback_came_does_not_overrule_it(
    asked: int | None,
) -> None:
    claim = folded(told("completed", assets=VIDEO))
    older = told("dreaming", Source.FETCH, asked_at_rev=asked)
    after, outcome = merge(claim, older, LATER)
    assert (after.state, after.assets, outcome) == ("completed", VIDEO, Outcome.STALE)
    assert not after.verified


def test_a_partial_render_survives_an_answer_asked_for_before_it_was_told() -> None:
    claim = folded(told("dreaming", assets=PROGRESS))
    older = told("dreaming", Source.FETCH, asked_at_rev=0)
    after, _ = merge(claim, older, LATER)
    assert after.assets == PROGRESS


def test_an_unverified_url_goes_when_luma_asked_after_it_does_not_know_it() -> None:
    claim = folded(told("dreaming", assets={"video": "https://evil"}))
    after, _ = merge(claim, told("dreaming", Source.FETCH, asked_at_rev=1), LATER)
    assert (after.assets, after.verified) == ({}, True)


def test_of_two_claimed_ends_the_first_stands_until_luma_itself_is_asked() -> None:
    claims = folded(told("completed", assets=VIDEO), told("failed", failure_reason="no"))
    assert (claims.state, claims.failure_reason, claims.verified) == ("completed", None, False)
    truth = told("failed", Source.FETCH, failure_reason="no", asked_at_rev=claims.rev)
    after, _ = merge(claims, truth, LATER)
    assert (after.state, after.failure_reason) == ("failed", "no")
    assert (after.assets, after.verified, after.finished_at) == ({}, True, NOON)


def test_luma_confirming_a_claim_is_one_change_and_says_so() -> None:
    claim = folded(told("completed", assets=VIDEO))
    after, outcome = merge(claim, told("completed", Source.FETCH, assets=VIDEO), LATER)
    assert (after.rev, after.verified, outcome) == (2, True, Outcome.APPLIED)
    assert (after.source, after.finished_at) == (Source.FETCH, NOON)
    again, outcome = merge(after, told("completed", Source.FETCH, assets=VIDEO), LATER)
    assert (again.rev, outcome) == (2, Outcome.UNCHANGED)


def test_a_url_by_callback_takes_the_verification_of_an_open_row_away() -> None:
    row = folded(told("dreaming", Source.FETCH), told("dreaming", assets=PROGRESS))
    assert (row.assets, row.verified) == (PROGRESS, False)


def test_a_callback_that_says_what_luma_has_said_leaves_it_verified() -> None:
    row = folded(told("dreaming", Source.FETCH, assets=PROGRESS), told("dreaming", assets=PROGRESS))
    assert (row.rev, row.verified) == (1, True)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("completed", Outcome.UNCHANGED), (None, Outcome.UNCHANGED), ("dreaming", Outcome.STALE)],
)
def test_a_callback_after_a_verified_end_is_told_how_it_fared(
    state: str | None, outcome: Outcome
) -> None:
    row = folded(told("completed", Source.FETCH, assets=VIDEO))
    assert merge(row, told(state), LATER)[1] is outcome


def test_hearing_nothing_new_is_still_hearing() -> None:
    row = folded(told("queued"))
    after, outcome = merge(row, told("queued"), LATER)
    assert (after.heard_at, after.updated_at, after.rev) == (LATER, NOON, 1)
    assert outcome is Outcome.UNCHANGED


def test_the_time_of_hearing_does_not_run_backwards() -> None:
    row = folded(told("queued"))
    assert merge(row, told("queued"), NOON - timedelta(seconds=30))[0].heard_at == NOON


def test_a_clock_that_was_ahead_once_does_not_make_a_row_heard_of_for_years() -> None:
    row = folded(told("queued"))._replace(heard_at=NOON + timedelta(days=3650))
    assert merge(row, told("queued"), LATER)[0].heard_at == LATER
    assert is_stale(row, NOON, timedelta(seconds=30))


def test_an_answer_asked_for_after_it_overrules_any_claim() -> None:
    claim = folded(told("dreaming", assets=PROGRESS))
    truth = told("queued", Source.FETCH, asked_at_rev=1)
    after, outcome = merge(claim, truth, LATER)
    assert (after.state, after.rev, outcome) == ("queued", 2, Outcome.APPLIED)
    assert (after.assets, after.verified) == ({}, True)
    older = told("queued", Source.FETCH, asked_at_rev=0)
    assert merge(claim, older, LATER)[0].state == "dreaming"


def test_an_answer_of_the_other_upstream_takes_the_place_of_a_claim() -> None:
    claim = folded(told("completed", assets={"video": "https://evil"}, prompt="forged"))
    truth = told("processing", Source.FETCH, upstream="agents", model="ray-3.2")
    after, outcome = merge(claim, truth, LATER)
    assert (after.upstream, after.state, after.rev) == ("agents", "processing", 2)
    assert (after.assets, after.prompt, after.model) == ({}, None, "ray-3.2")
    assert (after.verified, after.finished_at, outcome) == (True, None, Outcome.APPLIED)
    assert after.first_seen_at == claim.first_seen_at


def test_that_the_other_upstream_does_not_know_it_says_nothing() -> None:
    claim = folded(told("completed"))
    nothing = Observation(id=claim.id, upstream="agents", source=Source.FETCH, gone=True)
    assert merge(claim, nothing, LATER) == (claim, Outcome.STALE)


UNKNOWN_TO_LUMA = told(None, Source.FETCH, gone=True)


def test_what_luma_no_longer_knows_is_gone_once_and_keeps_what_was_known() -> None:
    row = folded(told("completed", Source.FETCH, assets=VIDEO))
    for seconds in (0, 1, 29):
        row, outcome = merge(row, UNKNOWN_TO_LUMA, LATER + timedelta(seconds=seconds))
        assert (row.gone_at, row.rev, outcome) == (None, 1, Outcome.UNCHANGED), "not yet"
    at = LATER + timedelta(seconds=30)
    gone, outcome = merge(row, UNKNOWN_TO_LUMA, at)
    assert (gone.gone_at, gone.rev, outcome) == (at, 2, Outcome.APPLIED)
    assert (gone.state, gone.assets) == ("completed", VIDEO)
    again, outcome = merge(gone, UNKNOWN_TO_LUMA, LATER + timedelta(hours=1))
    assert (again.gone_at, again.rev, outcome) == (at, 2, Outcome.UNCHANGED)


def test_what_luma_knows_in_between_is_not_gone() -> None:
    row = folded(told("completed", Source.FETCH, assets=VIDEO), UNKNOWN_TO_LUMA)
    assert row.missing_since
    row, _ = merge(row, told("completed", Source.FETCH, assets=VIDEO), LATER)
    assert (row.missing_since, row.rev) == (None, 1)
    row, _ = merge(row, UNKNOWN_TO_LUMA, LATER + timedelta(hours=1))
    assert row.gone_at is None


def test_a_clock_that_was_ahead_when_it_was_missing_makes_nothing_gone() -> None:
    row = folded(told("dreaming", Source.FETCH))._replace(missing_since=LATER + timedelta(days=9))
    row, _ = merge(row, UNKNOWN_TO_LUMA, LATER)
    assert (row.gone_at, row.missing_since) == (None, LATER)


def gone_row(state: str) -> Generation:
    """Return a row of which Luma has answered twice that it does not know it."""
    missing = folded(told(state, Source.FETCH), UNKNOWN_TO_LUMA)
    return merge(missing, UNKNOWN_TO_LUMA, NOON + timedelta(seconds=60))[0]


def test_what_luma_knows_again_is_no_longer_gone() -> None:
    for state in ("completed", "failed"):
        row = gone_row("dreaming")
        back, outcome = merge(row, told(state, Source.FETCH), LATER)
        assert (back.gone_at, back.rev, outcome) == (None, 3, Outcome.APPLIED)
    row = gone_row("completed")
    assert merge(row, told("completed", Source.FETCH), LATER)[0].gone_at is None


def test_a_callback_does_not_bring_back_what_luma_says_is_gone() -> None:
    row = gone_row("dreaming")
    after, _ = merge(row, told("completed", assets=VIDEO), LATER)
    assert (after.state, after.gone_at) == ("completed", row.gone_at)


def presigned(signature: str, *types: str) -> dict[str, Any]:
    """Return the fields of an Agents API answer with presigned outputs."""
    urls = {kind: f"https://s3/{kind}?sig={signature}" for kind in types}
    return {
        "upstream": "agents",
        "assets": urls,
        "outputs": tuple({"type": kind, "url": url} for kind, url in urls.items()),
    }


def test_presigned_urls_are_renewed_without_a_new_rev() -> None:
    first = told("completed", Source.FETCH, assets_expire_at=NOON, **presigned("1", "image"))
    second = told("completed", Source.FETCH, assets_expire_at=LATER, **presigned("2", "image"))
    row, outcome = merge(folded(first), second, LATER)
    assert (row.rev, row.updated_at, outcome) == (1, NOON, Outcome.UNCHANGED)
    assert row.assets == {"image": "https://s3/image?sig=2"}
    assert row.outputs == ({"type": "image", "url": "https://s3/image?sig=2"},)
    assert (row.assets_expire_at, row.heard_at) == (LATER, LATER)


def test_another_presigned_output_is_a_change() -> None:
    first = told("completed", Source.FETCH, assets_expire_at=NOON, **presigned("1", "image"))
    more = told("completed", Source.FETCH, assets_expire_at=LATER, **presigned("2", "image", "x"))
    row, outcome = merge(folded(first), more, LATER)
    assert (row.rev, len(row.outputs), outcome) == (2, 2, Outcome.APPLIED)


def test_a_callback_cannot_speak_of_another_upstreams_generation() -> None:
    row = folded(told("processing", Source.FETCH, upstream="agents"))
    forged = told("completed", assets={"video": "https://evil"})
    after, outcome = merge(row, forged, LATER)
    assert outcome is Outcome.STALE
    assert after == row, "nor can it make a quiet row look as if Luma had spoken of it"


def test_an_observation_is_not_changed_by_being_folded() -> None:
    assets = dict(VIDEO)
    row = folded(told("completed", assets=assets))
    merge(row, told("completed", assets={"image": "https://cdn/other.jpg"}), LATER)
    assert row.assets == assets == VIDEO


# --- The document: the generation as Luma last reported it -------------------------------------


def documented(state: str, text: str, source: Source = Source.CALLBACK) -> Observation:
    """An observation with a document."""
    return Observation("a", "dream_machine", source, state=state, document=text)


def folded_document(*observations: Observation) -> str | None:
    """The document after these observations."""
    row: Generation | None = None
    for number, observation in enumerate(observations):
        row, _ = merge(row, observation, NOON + timedelta(seconds=number))
    assert row is not None
    return row.document


def test_the_document_is_that_of_the_highest_state() -> None:
    assert folded_document(documented("dreaming", "1"), documented("completed", "2")) == "2"
    assert folded_document(documented("completed", "2"), documented("dreaming", "1")) == "2"


def test_of_one_state_the_newest_document_is_kept() -> None:
    assert folded_document(documented("dreaming", "1"), documented("dreaming", "2")) == "2"


def test_a_callback_does_not_replace_the_document_of_an_answer() -> None:
    answer = documented("dreaming", "1", Source.FETCH)
    assert folded_document(answer, documented("dreaming", "2")) == "1"
    assert folded_document(answer, documented("dreaming", "2", Source.FETCH)) == "2"


def test_a_document_that_was_too_large_leaves_the_last_one() -> None:
    last = documented("completed", "2")._replace(document=None)
    assert folded_document(documented("dreaming", "1"), last) == "1"


def test_what_a_callback_leaves_out_of_the_document_stays() -> None:
    whole = documented("queued", '{"id":"a","state":"queued","model":"ray-2","x":[1]}')
    sparse = documented("dreaming", '{"id":"a","state":"dreaming"}')
    merged = '{"id":"a","state":"dreaming","model":"ray-2","x":[1]}'
    for source in (Source.CALLBACK, Source.FETCH):
        first = whole._replace(source=source, model="ray-2")
        assert folded_document(first, sparse) == merged
    assert folded_document(whole._replace(model="ray-2"), sparse._replace(model="ray-2")) == (
        sparse.document
    )
    answer = sparse._replace(source=Source.FETCH)
    assert folded_document(whole._replace(model="ray-2"), answer) == sparse.document


def test_documents_do_not_grow_without_bound() -> None:
    first = documented("queued", f'{{"a":"{"x" * 200_000}"}}')._replace(model="ray-2")
    second = documented("dreaming", f'{{"b":"{"x" * 200_000}"}}')
    assert folded_document(first, second) == second.document


def test_a_new_document_alone_is_no_new_rev() -> None:
    first, _ = merge(None, documented("completed", "1", Source.FETCH), NOON)
    second, outcome = merge(first, documented("completed", "2", Source.FETCH), NOON)
    assert (second.rev, second.document, outcome) == (1, "2", Outcome.UNCHANGED)
