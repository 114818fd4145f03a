"""States, ranks, ids, and staleness."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.generation import (
    Generation,
    Observation,
    Source,
    has_expired_assets,
    is_known,
    is_stale,
    is_terminal,
    is_usable_id,
    rank,
)

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
HALF_A_MINUTE = timedelta(seconds=30)


def row(
    state: str = "dreaming",
    *,
    video: str | None = None,
    gone_at: datetime | None = None,
    expires: datetime | None = None,
) -> Generation:
    """Return a row that was last reported on at noon."""
    return Generation(
        id="a",
        upstream="dream_machine",
        state=state,
        generation_type=None,
        operation=None,
        model=None,
        prompt=None,
        created_at=None,
        failure_reason=None,
        failure_code=None,
        assets={"video": video} if video else {},
        outputs=(),
        assets_expire_at=expires,
        request=None,
        rev=1,
        source=Source.FETCH,
        verified=True,
        gone_at=gone_at,
        first_seen_at=NOON,
        updated_at=NOON,
        heard_at=NOON,
        finished_at=None,
    )


def test_ranks_follow_a_generations_life() -> None:
    ranks = [rank(state) for state in ("unknown", "queued", "dreaming", "completed")]
    assert ranks == sorted(set(ranks))
    assert rank("dreaming") == rank("processing") == rank("something Luma invents")
    assert rank("completed") == rank("failed")


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_only_completed_and_failed_are_terminal(state: str) -> None:
    assert is_terminal(state)
    assert row(state).terminal


@pytest.mark.parametrize("state", ["unknown", "queued", "dreaming", "processing", "new", ""])
def test_every_other_state_is_open(state: str) -> None:
    assert not is_terminal(state)
    assert not row(state).terminal


def test_states_are_known_by_their_exact_name() -> None:
    assert is_known("dreaming")
    assert not is_known("Dreaming")


@pytest.mark.parametrize("value", ["a", "A-z_0.9:x", "x" * 128, "3fa85f64-5717-4562-b3fc"])
def test_an_id_of_lumas_alphabet_is_usable(value: str) -> None:
    assert is_usable_id(value)


@pytest.mark.parametrize(
    "value",
    ["", "x" * 129, "a/b", "a b", "a\n", "é", "a%2e", "٣", "\0", None, 1, True, ["a"], {"a": 1}],
)
def test_anything_else_is_no_id(value: object) -> None:
    assert not is_usable_id(value)


def test_everything_but_a_callback_is_authenticated() -> None:
    told = {source: Observation(id="a", upstream="agents", source=source) for source in Source}
    assert [s for s, seen in told.items() if not seen.authenticated] == [Source.CALLBACK]


@pytest.mark.parametrize(
    ("generation", "stale"),
    [
        pytest.param(row("queued"), True, id="open"),
        pytest.param(row("something new"), True, id="unknown state"),
        pytest.param(row("completed"), True, id="completed, and its URL still to come"),
        pytest.param(row("completed", video="https://v"), False, id="completed"),
        pytest.param(row("failed"), False, id="failed"),
        pytest.param(
            row("dreaming", video="https://p"), True, id="a partial render is not the end"
        ),
        pytest.param(row("dreaming", gone_at=NOON), False, id="gone"),
    ],
)
def test_only_what_may_still_change_goes_stale(generation: Generation, stale: bool) -> None:
    after_an_hour = NOON + timedelta(hours=1)
    assert is_stale(generation, after_an_hour, HALF_A_MINUTE) is stale


def test_a_row_goes_stale_just_after_the_limit() -> None:
    assert not is_stale(row(), NOON + HALF_A_MINUTE, HALF_A_MINUTE)
    just_after = NOON + HALF_A_MINUTE + timedelta(microseconds=1)
    assert is_stale(row(), just_after, HALF_A_MINUTE)


def test_presigned_urls_die_at_their_time_and_others_never() -> None:
    later = NOON + timedelta(hours=1)
    assert not has_expired_assets(row(), later)
    assert not has_expired_assets(row(expires=later), later - timedelta(microseconds=1))
    assert has_expired_assets(row(expires=later), later)
