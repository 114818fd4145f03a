"""Rows are read as they were written, and a writer never overwrites a version it has not read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select

from service.domain.generation import Generation, Source
from service.storage import events, generations
from tests.single import add_event, save

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)


def generation(**given: Any) -> Generation:
    """A row with something in every field."""
    values: dict[str, Any] = {
        "id": "a",
        "upstream": "agents",
        "state": "completed",
        "generation_type": "image",
        "operation": "image_edit",
        "model": "uni-1",
        "prompt": "ein See, 湖, \N{CAMERA}",
        "created_at": NOON - timedelta(days=1),
        "failure_reason": "none",
        "failure_code": "none_at_all",
        "assets": {"image": "https://1"},
        "outputs": ({"type": "image", "url": "https://1"}, {"type": "image", "url": "https://2"}),
        "assets_expire_at": NOON + timedelta(hours=1),
        "request": {"a": [1, {"b": None}], "c": "ü"},
        "parent_id": "b",
        "rev": 1,
        "source": Source.BACKFILL,
        "verified": True,
        "gone_at": NOON,
        "first_seen_at": NOON,
        "updated_at": NOON,
        "heard_at": LATER,
        "finished_at": NOON,
        "next_check_at": LATER,
        "checks": 3,
    }
    return Generation(**{**values, **given})


EMPTY: dict[str, Any] = {
    "generation_type": None,
    "operation": None,
    "model": None,
    "prompt": None,
    "created_at": None,
    "failure_reason": None,
    "failure_code": None,
    "assets": {},
    "outputs": (),
    "assets_expire_at": None,
    "request": None,
    "parent_id": None,
    "gone_at": None,
    "finished_at": None,
    "next_check_at": None,
    "checks": 0,
}


@pytest.mark.parametrize("row", [generation(), generation(**EMPTY)], ids=["full", "empty"])
def test_a_row_comes_back_as_it_went_in(connection: Connection, row: Generation) -> None:
    assert save(connection, None, row)
    found = generations.find(connection, "a")
    assert found == row
    assert found is not None
    assert found.first_seen_at.tzinfo is not None


def test_what_is_not_there_is_none(connection: Connection) -> None:
    save(connection, None, generation())
    assert generations.find(connection, "A") is None, "ids are told apart by case"


def test_a_row_takes_the_place_of_the_one_that_was_read(connection: Connection) -> None:
    before = generation()
    save(connection, None, before)
    after = before._replace(rev=2, state="failed", assets={})
    assert save(connection, before, after)
    assert generations.find(connection, "a") == after


def test_whoever_has_read_an_older_row_loses_and_changes_nothing(connection: Connection) -> None:
    first = generation()
    save(connection, None, first)
    second = first._replace(rev=2)
    save(connection, first, second)
    assert not save(connection, first, first._replace(rev=2, state="failed"))
    assert generations.find(connection, "a") == second


def test_other_rows_are_left_alone(connection: Connection) -> None:
    one, other = generation(), generation(id="b")
    save(connection, None, one)
    save(connection, None, other)
    save(connection, one, one._replace(rev=2))
    assert generations.find(connection, "b") == other


def test_a_row_is_in_order_by_creation_or_else_by_when_it_was_first_seen(
    connection: Connection,
) -> None:
    save(connection, None, generation(id="told"))
    save(connection, None, generation(id="untold", created_at=None))
    order = select(generations.GENERATIONS.c.id, generations.GENERATIONS.c.ordered_at)
    assert {row.id: row.ordered_at for row in connection.execute(order)} == {
        "told": NOON - timedelta(days=1),
        "untold": NOON,
    }


def test_history_is_told_oldest_first_and_in_pages(connection: Connection) -> None:
    one = generation(state="queued", source=Source.CALLBACK)
    add_event(connection, None, one, "d1")
    add_event(connection, None, generation(id="b"), None)
    two = one._replace(state="completed", rev=2, source=Source.FETCH, updated_at=LATER)
    add_event(connection, one, two, None)
    first, second = events.of_generation(connection, "a", after=0, limit=10)
    assert first == events.Event(first.seq, "a", None, "queued", 1, "callback", NOON, "d1")
    assert second == events.Event(second.seq, "a", "queued", "completed", 2, "fetch", LATER, None)
    assert first.seq < second.seq
    assert events.of_generation(connection, "a", after=0, limit=1) == [first]
    assert events.of_generation(connection, "a", after=first.seq, limit=10) == [second]
    assert events.of_generation(connection, "a", after=second.seq, limit=10) == []
    assert events.of_generation(connection, "c", after=0, limit=10) == []
