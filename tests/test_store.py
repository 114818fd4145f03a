"""The statements: rows come back as they went in, and nobody overwrites what they have not read."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from service import migrating, store
from service.db import make_engine
from service.generation import Generation, Source

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A migrated database."""
    made = make_engine(f"sqlite:///{tmp_path_factory.mktemp('db') / 'tracker.db'}")
    migrating.upgrade(made)
    yield made
    made.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A writing transaction on it, of which nothing is left."""
    with engine.connect().execution_options(writes=True) as opened, opened.begin() as all_:
        yield opened
        all_.rollback()


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
    assert store.save(connection, None, row)
    found = store.find(connection, "a")
    assert found == row
    assert found is not None
    assert found.first_seen_at.tzinfo is not None


def test_what_is_not_there_is_none(connection: Connection) -> None:
    store.save(connection, None, generation())
    assert store.find(connection, "A") is None, "ids are told apart by case"


def test_a_row_takes_the_place_of_the_one_that_was_read(connection: Connection) -> None:
    before = generation()
    store.save(connection, None, before)
    after = replace(before, rev=2, state="failed", assets={})
    assert store.save(connection, before, after)
    assert store.find(connection, "a") == after


def test_whoever_has_read_an_older_row_loses_and_changes_nothing(connection: Connection) -> None:
    first = generation()
    store.save(connection, None, first)
    second = replace(first, rev=2)
    store.save(connection, first, second)
    assert not store.save(connection, first, replace(first, rev=2, state="failed"))
    assert store.find(connection, "a") == second


def test_other_rows_are_left_alone(connection: Connection) -> None:
    one, other = generation(), generation(id="b")
    store.save(connection, None, one)
    store.save(connection, None, other)
    store.save(connection, one, replace(one, rev=2))
    assert store.find(connection, "b") == other


def test_a_row_is_in_order_by_creation_or_else_by_when_it_was_first_seen(
    connection: Connection,
) -> None:
    store.save(connection, None, generation(id="told"))
    store.save(connection, None, generation(id="untold", created_at=None))
    order = select(store.GENERATIONS.c.id, store.GENERATIONS.c.ordered_at)
    assert {row.id: row.ordered_at for row in connection.execute(order)} == {
        "told": NOON - timedelta(days=1),
        "untold": NOON,
    }


def test_history_is_told_oldest_first_and_in_pages(connection: Connection) -> None:
    one = generation(state="queued", source=Source.CALLBACK)
    store.add_event(connection, None, one, "d1")
    store.add_event(connection, None, generation(id="b"), None)
    two = replace(one, state="completed", rev=2, source=Source.FETCH, updated_at=LATER)
    store.add_event(connection, one, two, None)
    first, second = store.events_of(connection, "a", after=0, limit=10)
    assert first == store.Event(first.seq, "a", None, "queued", 1, "callback", NOON, "d1")
    assert second == store.Event(second.seq, "a", "queued", "completed", 2, "fetch", LATER, None)
    assert first.seq < second.seq
    assert store.events_of(connection, "a", after=0, limit=1) == [first]
    assert store.events_of(connection, "a", after=first.seq, limit=10) == [second]
    assert store.events_of(connection, "a", after=second.seq, limit=10) == []
    assert store.events_of(connection, "c", after=0, limit=10) == []
