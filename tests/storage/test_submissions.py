"""The journal of creates: each is written once, and what became of it is kept."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from service.domain.submission import State, Submission
from service.storage import submissions

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
_NUMBERS = count()


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def create(key: str | None = None, seconds: float = 0, **given: Any) -> Submission:
    """A create that is not written yet, received some seconds after noon."""
    number = next(_NUMBERS)
    values: dict[str, Any] = dict.fromkeys(Submission._fields)
    values |= {
        "id": f"create-{number}",
        "upstream": "dream_machine",
        "path": "generations/video",
        "token_digest": "caller",
        "key_digest": key,
        "body_digest": "body",
        "nonce": f"nonce-{number}",
        "request": {"prompt": "a lake"},
        "state": State.SENT,
        "delivered": False,
        "created_at": after(seconds),
        "expires_at": after(seconds + 20),
        "next_search_at": after(seconds + 3),
        "searches": 0,
    }
    return Submission(**{**values, **given})


def begun(connection: Connection, new: Submission, *, is_retry: bool = False) -> str:
    return submissions.begin(connection, new, is_retry=is_retry).id


def written(connection: Connection, key: str | None = None, **given: Any) -> Submission:
    return submissions.begin(connection, create(key, **given), is_retry=False)


def found(connection: Connection, submission: Submission) -> Submission:
    row = submissions.find(connection, submission.id)
    assert row
    return row


def settle(
    connection: Connection, submission: Submission, status: int, state: State, **given: Any
) -> None:
    values: dict[str, Any] = {"answer": b"{}", "headers": {"a": "b"}, "now": after(1), **given}
    submissions.settle(connection, submission, state=state, status=status, **values)


def test_a_create_is_kept_as_it_is(connection: Connection) -> None:
    new = create("key", callback_url="https://hers.example", parent_id="parent")
    assert submissions.begin(connection, new, is_retry=False) is new
    assert found(connection, new) == new
    assert submissions.find(connection, "unknown") is None


def test_a_key_stands_for_its_first_create(connection: Connection) -> None:
    first = written(connection, "key")
    assert begun(connection, create("key", seconds=1)) == first.id
    assert begun(connection, create("key", seconds=1, body_digest="other")) == first.id
    other = create("other")
    assert begun(connection, other) == other.id


def test_a_key_is_free_after_a_day(connection: Connection) -> None:
    first = written(connection, "key")
    day = 24 * 3600
    assert begun(connection, create("key", seconds=day - 1)) == first.id
    second = create("key", seconds=day)
    assert begun(connection, second) == second.id
    assert found(connection, first).key_digest is None


def test_creates_without_a_key_are_all_new(connection: Connection) -> None:
    new = [create(), create(), create()]
    assert [begun(connection, each) for each in new] == [each.id for each in new]


def test_an_answer_is_kept_and_frees_the_key_if_it_may_pass(connection: Connection) -> None:
    first = written(connection, "key")
    settle(connection, first, 429, State.REFUSED, free_key=True)

    row = found(connection, first)
    assert (row.state, row.status, row.answer, row.headers) == (
        State.REFUSED,
        429,
        b"{}",
        {"a": "b"},
    )
    assert (row.settled_at, row.next_search_at) == (after(1), None)
    second = create("key")
    assert begun(connection, second) == second.id


RETRY_CASES = [
    (None, None, False, True),
    (State.UNKNOWN, 504, False, True),
    (State.UNKNOWN, 504, True, True),
    (State.ACCEPTED, 201, False, True),
    (State.ACCEPTED, 201, True, False),
    (State.REFUSED, 400, False, True),
    (State.REFUSED, 400, True, False),
    (State.REFUSED, 429, False, False),
    (State.REFUSED, 500, False, False),
    (State.REFUSED, 503, False, False),
]


@pytest.mark.parametrize(("state", "status", "delivered", "same"), RETRY_CASES)
def test_a_retry_is_the_same_create_until_its_answer_has_reached_the_caller(
    connection: Connection, state: State | None, status: int | None, delivered: bool, same: bool
) -> None:
    first = written(connection)
    if state and status:
        settle(connection, first, status, state, generation_id="g" if status == 201 else None)
    if delivered:
        submissions.mark_delivered(connection, [first.id])

    retry = create(seconds=2)

    assert begun(connection, retry, is_retry=True) == (first.id if same else retry.id)


def test_a_lost_create_that_was_found_is_the_answer_to_a_retry(connection: Connection) -> None:
    first = written(connection)
    settle(connection, first, 504, State.UNKNOWN, search=True)
    submissions.link(connection, {first.nonce or "": "g"}, after(5))
    assert begun(connection, create(seconds=6), is_retry=True) == first.id


def test_each_retry_of_several_equal_creates_is_of_another_one(connection: Connection) -> None:
    attempts = [written(connection, seconds=n).id for n in range(3)]
    taken: list[str] = []
    for n in range(3):
        retry = create(seconds=5 + n)
        taken.append(submissions.begin(connection, retry, is_retry=True, taken=taken).id)
    assert sorted(taken) == sorted(attempts)
    assert submissions.begin(connection, create(seconds=9), is_retry=True, taken=taken).id in taken


@pytest.mark.parametrize(
    "other",
    [
        {"token_digest": "another"},
        {"body_digest": "another"},
        {"seconds": 600},
    ],
)
def test_a_retry_without_an_earlier_attempt_is_a_new_create(
    connection: Connection, other: dict[str, Any]
) -> None:
    written(connection)
    retry = create(**other)
    assert begun(connection, retry, is_retry=True) == retry.id


def test_a_retry_without_a_key_is_not_of_a_create_with_one(connection: Connection) -> None:
    written(connection, "key")
    retry = create(seconds=1)
    assert begun(connection, retry, is_retry=True) == retry.id


def test_a_create_is_linked_by_its_nonce(connection: Connection) -> None:
    lost, other = written(connection), written(connection)
    settle(connection, lost, 504, State.UNKNOWN, search=True)
    assert found(connection, lost).next_search_at == after(1)

    linked = submissions.link(connection, {lost.nonce or "": "g", "unknown": "h"}, after(9))

    assert [*linked] == [lost.nonce]
    row = found(connection, lost)
    assert (row.state, row.generation_id, row.next_search_at) == (State.ACCEPTED, "g", None)
    assert row.settled_at == after(1)
    assert found(connection, other) == other
    assert submissions.link(connection, {}, after(9)) == {}


def test_the_first_link_stays_but_the_answer_of_luma_is_the_truth(connection: Connection) -> None:
    submission = written(connection)
    for generation in ("claimed", "another"):
        submissions.link(connection, {submission.nonce or "": generation}, after(1))
    assert found(connection, submission).generation_id == "claimed"
    settle(connection, submission, 201, State.ACCEPTED, generation_id="made")
    assert found(connection, submission).generation_id == "made"


@pytest.mark.parametrize(("status", "state"), [(504, State.UNKNOWN), (502, State.REFUSED)])
def test_what_a_callback_told_outlives_a_lost_answer(
    connection: Connection, status: int, state: State
) -> None:
    submission = written(connection)
    submissions.link(connection, {submission.nonce or "": "g"}, after(1))
    settle(connection, submission, status, state, search=True)
    row = found(connection, submission)
    assert (row.state, row.generation_id, row.status) == (State.ACCEPTED, "g", status)
    assert row.next_search_at is None


def claimed(connection: Connection, seconds: float) -> list[str]:
    now, until = after(seconds), after(seconds + 8)
    return [each.id for each in submissions.claim_searches(connection, now, until)]


def test_a_search_is_claimed_by_one(connection: Connection) -> None:
    submission = written(connection)
    assert not submissions.any_due(connection, after(2))
    assert claimed(connection, 2) == []
    assert submissions.any_due(connection, after(3))
    assert claimed(connection, 3) == [submission.id]
    assert claimed(connection, 4) == []
    assert claimed(connection, 11) == [submission.id]
    assert found(connection, submission).searches == 2
    assert found(connection, submission).state is State.SENT


def test_a_create_whose_process_died_becomes_unknown(connection: Connection) -> None:
    submission = written(connection)
    assert claimed(connection, 20) == [submission.id]
    assert found(connection, submission).state is State.UNKNOWN


def test_what_cannot_be_searched_for_is_claimed_once(connection: Connection) -> None:
    submission = written(connection, nonce=None, next_search_at=after(20))
    assert claimed(connection, 20) == [submission.id]
    row = found(connection, submission)
    assert (row.state, row.next_search_at) == (State.UNKNOWN, None)


def test_the_next_search_is_set_unless_it_was_found(connection: Connection) -> None:
    lost, linked = written(connection), written(connection)
    submissions.link(connection, {linked.nonce or "": "g"}, after(1))
    for each in (lost, linked):
        submissions.schedule_search(connection, each.id, after(30))
    assert found(connection, lost).next_search_at == after(30)
    assert found(connection, linked).next_search_at is None


def test_old_creates_are_deleted_in_small_batches(connection: Connection) -> None:
    old = [written(connection, seconds=n) for n in range(3)]
    young = written(connection, seconds=10)
    assert submissions.prune(connection, after(5), 2) == 2
    assert submissions.prune(connection, after(5), 2) == 1
    assert [submissions.find(connection, each.id) for each in old] == [None] * 3
    assert submissions.find(connection, young.id)


@pytest.fixture
def emptied(engine: Engine) -> Iterator[Engine]:
    """The database, without what the test commits."""
    yield engine
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        submissions.prune(connection, after(1e6), 1000)


def test_of_many_writers_with_one_key_one_is_first(emptied: Engine) -> None:
    def write(_: int) -> str:
        with emptied.connect().execution_options(writes=True) as connection, connection.begin():
            return begun(connection, create("key"))

    with ThreadPoolExecutor(8) as threads:
        assert len({*threads.map(write, range(24))}) == 1


def test_a_create_that_was_committed_unnoticed_is_itself(connection: Connection) -> None:
    """The connection broke after the commit, so the transaction runs again."""
    new = create()
    submissions.begin(connection, new, is_retry=False)
    written(connection, seconds=1, body_digest="another")
    assert submissions.begin(connection, new, is_retry=False) == new


def test_the_create_of_a_generation_is_found(connection: Connection) -> None:
    new = written(connection)
    assert submissions.of_generation(connection, "made") is None
    settle(connection, new, 201, State.ACCEPTED, generation_id="made")
    made = submissions.of_generation(connection, "made")
    assert made
    assert (made.id, made.status) == (new.id, 201)
