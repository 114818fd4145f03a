"""Deliveries that test the way of callbacks: kept, told to nobody, and taken out again."""

import json

import pytest

from service.domain.generation import TEST_PREFIX, Outcome
from service.tracking.callback_tokens import Grant
from service.tracking.tracker import Tracker

ID = f"{TEST_PREFIX}1"
BODY = {"id": ID, "state": "completed", "request": {"prompt": "ein See, 湖"}}


async def inbox(tracker: Tracker) -> list[str | None]:
    """The generations that the deliveries are of."""
    found = await tracker.deliveries.page(outcomes=(), generation_ids=(), before=None, limit=9)
    return [each.generation_id for each in found]


async def test_a_test_is_taken_out_of_the_inbox_as_it_came(tracker: Tracker) -> None:
    receipts = await tracker.deliveries.receive(json.dumps(BODY).encode(), Grant())
    other = await tracker.deliveries.receive(json.dumps({**BODY, "id": "a"}).encode(), Grant())
    assert (receipts.outcome, other.outcome) == (Outcome.UNCHANGED, Outcome.APPLIED)

    taken = await tracker.deliveries.take_test(ID)

    assert taken
    assert taken[1] == BODY
    assert await inbox(tracker) == ["a"]
    assert await tracker.deliveries.take_test(ID) is None
    assert await tracker.history.newest() == 1, "no event tells of a test"


async def test_nothing_but_a_test_can_be_taken_out(tracker: Tracker) -> None:
    await tracker.deliveries.receive(json.dumps({**BODY, "id": "a"}).encode(), Grant())

    with pytest.raises(ValueError, match="not of a test"):
        await tracker.deliveries.take_test("a")

    assert await inbox(tracker) == ["a"]
