"""The rules for creates: when one is under way, when a key is free, when to look again."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from service.domain.generation import Observation, Source
from service.domain.submission import State, Submission, as_created, frees_key, next_search

pytestmark = pytest.mark.either_database

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def submission(**given: Any) -> Submission:
    """A create that was sent at noon, and may take 20 seconds."""
    values: dict[str, Any] = dict.fromkeys(Submission._fields)
    values |= {
        "id": "a",
        "state": State.SENT,
        "created_at": NOON,
        "expires_at": after(20),
        "searches": 0,
    }
    return Submission(**{**values, **given})


@pytest.mark.parametrize(
    ("given", "seconds", "is_under_way"),
    [
        ({}, 0, True),
        ({}, 19, True),
        ({}, 20, False),
        ({"status": 201, "state": State.ACCEPTED}, 1, False),
        ({"status": 504, "state": State.UNKNOWN}, 1, False),
        ({"state": State.UNKNOWN}, 30, False),
        ({"state": State.ACCEPTED, "settled_at": after(5)}, 6, True),
        ({"state": State.ACCEPTED, "settled_at": after(5)}, 8, False),
    ],
)
def test_a_create_is_under_way_until_its_answer_can_no_longer_come(
    given: dict[str, Any], seconds: float, is_under_way: bool
) -> None:
    assert submission(**given).is_under_way(after(seconds)) is is_under_way


@pytest.mark.parametrize(
    ("status", "is_free"), [(400, False), (402, False), (422, False), (429, True), (500, True)]
)
def test_a_429_or_5xx_frees_the_key(status: int, is_free: bool) -> None:
    assert frees_key(status) is is_free


@pytest.mark.parametrize(
    ("state", "status", "answer", "is_final"),
    [
        (State.ACCEPTED, 201, b"{}", True),
        (State.REFUSED, 400, b"{}", True),
        (State.REFUSED, 504, b"", True),
        (State.UNKNOWN, 504, b"{}", False),
        (State.UNKNOWN, 201, b"nonsense", True),
        (State.ACCEPTED, 504, b"{}", False),
        (State.ACCEPTED, None, None, False),
        (State.SENT, None, None, False),
    ],
)
def test_an_answer_is_final_unless_it_says_that_luma_gave_none(
    state: State, status: int | None, answer: bytes | None, is_final: bool
) -> None:
    found = submission(state=state, status=status, answer=answer)
    assert found.has_final_answer is is_final


def searched_at(lost: Submission, first: datetime, until: float) -> list[float]:
    """Return the seconds after noon at which a lost create is looked for."""
    times, at = [], first
    while at <= after(until):
        times.append((at - NOON).total_seconds())
        found = next_search(lost, at)
        if found is None:
            break
        at = found
    return times


def test_a_lost_create_is_searched_for_at_once_and_with_growing_pauses() -> None:
    lost = submission(state=State.UNKNOWN, settled_at=after(10))

    times = searched_at(lost, after(10), 86_000)

    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert all(b - a > -0.001 for a, b in pairwise(pauses))
    assert pauses[0] == 1
    assert round(pauses[-1]) == 600
    assert sum(1 for at in times if at <= 25) == 7, (
        "linked within 15 s, however slow Luma's list is"
    )


def test_a_create_whose_process_died_is_searched_for_at_most_five_seconds_apart() -> None:
    times = searched_at(submission(), after(3), 120)

    assert max(b - a for a, b in pairwise(times)) == 5


def test_the_search_ends_after_a_day_and_after_a_refusal_soon() -> None:
    day = timedelta(hours=24)
    assert next_search(submission(state=State.UNKNOWN, settled_at=NOON), NOON + day) is None
    refused = submission(state=State.REFUSED, settled_at=NOON)
    assert searched_at(refused, NOON, 1000)[-1] < 60


def test_a_generation_knows_what_only_its_create_said() -> None:
    created = submission(
        parent_id="p",
        callback_url="https://a.example",
        request={"prompt": "a lake", "type": "image"},
    )
    told = Observation("a", "agents", Source.SUBMIT)

    known = as_created(told, created)

    assert (known.parent_id, known.callback_url) == ("p", "https://a.example")
    assert (known.prompt, known.request) == ("a lake", {"prompt": "a lake", "type": "image"})
    echoed = told._replace(prompt="echoed", request={"prompt": "echoed"})
    assert as_created(echoed, created).request == {"prompt": "echoed"}
