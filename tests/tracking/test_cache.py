"""The cache: bounded, invalidated by changes, and used only while it is known to be current."""

from datetime import UTC, datetime
from typing import Any

import pytest

from service.domain.generation import Observation, Source
from service.domain.merge import merge
from service.storage.representation import Representation
from service.tracking.cache import Cache
from tests.reference import representation_of

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
LONG = 3600.0


def shown(generation_id: str = "a", rev: int = 1, **told: Any) -> Representation:
    """Return the representation of a generation."""
    row, _ = merge(
        None, Observation(id=generation_id, upstream="agents", source=Source.FETCH), NOON
    )
    for n in range(1, rev):
        seen = Observation(id=generation_id, upstream="agents", source=Source.FETCH, state=f"s{n}")
        row, _ = merge(row, seen, NOON)
    seen = Observation(id=generation_id, upstream="agents", source=Source.FETCH, **told)
    return representation_of(merge(row, seen, NOON)[0] if told else row)


def put(cache: Cache, *representations: Representation) -> None:
    """Cache the results of reads with which no change overlapped."""
    for each in representations:
        with cache.reading(each.id) as reading:
            cache.put(each, reading)


@pytest.fixture
def cache() -> Cache:
    made = Cache(1_000_000)
    made.mark_current(LONG)
    return made


def test_what_was_read_is_kept(cache: Cache) -> None:
    put(cache, shown())
    assert cache.get("a") == shown()
    assert cache.get("b") is None


def test_nothing_is_kept_or_told_before_one_would_hear_of_changes() -> None:
    cache = Cache(1_000_000)
    put(cache, shown())
    cache.mark_current(LONG)
    assert cache.get("a") is None
    put(cache, shown())
    cache.mark_current(0)
    assert (cache.is_current, cache.get("a")) == (False, None)


def test_a_cache_without_room_is_never_sure_and_keeps_nothing() -> None:
    cache = Cache(0)
    cache.mark_current(LONG)
    put(cache, shown())
    assert (cache.is_current, cache.get("a")) == (False, None)


def test_a_change_drops_it(cache: Cache) -> None:
    put(cache, shown(), shown("b"))
    cache.invalidate("a")
    assert cache.get("a") is None
    assert cache.get("b")


@pytest.mark.parametrize(
    "change", [lambda cache: cache.invalidate("a"), lambda cache: cache.clear()]
)
def test_a_read_that_a_change_came_between_is_not_kept(cache: Cache, change: Any) -> None:
    with cache.reading("a") as reading, cache.reading("a") as another:
        change(cache)
        cache.mark_current(LONG)
        cache.put(shown(), reading)
        assert cache.get("a") is None
        with cache.reading("a") as later:
            cache.put(shown(), later)
        assert cache.get("a")
        assert (reading.invalidated, another.invalidated, later.invalidated) == (True, True, False)


def test_a_change_of_another_generation_spoils_no_read(cache: Cache) -> None:
    with cache.reading("a") as reading:
        cache.invalidate("b")
        cache.put(shown(), reading)
    assert cache.get("a")


def test_whoever_is_told_of_a_rev_is_never_answered_with_an_older_one(cache: Cache) -> None:
    put(cache, shown(rev=2))
    cache.invalidate_older("a", 1)
    cache.invalidate_older("a", 2)
    assert cache.get("a")
    cache.invalidate_older("a", 3)
    assert cache.get("a") is None


def test_a_read_under_way_while_somebody_is_told_of_a_rev_is_not_kept(cache: Cache) -> None:
    with cache.reading("a") as reading:
        cache.invalidate_older("a", 2)
        cache.put(shown(rev=1), reading)
    assert cache.get("a") is None


def test_what_was_not_asked_for_longest_goes_first() -> None:
    each = len(shown().body) + 600  # with the overhead of an entry
    cache = Cache(3 * each)
    cache.mark_current(LONG)
    put(cache, shown("a"), shown("b"), shown("c"))
    assert cache.get("a")
    put(cache, shown("d"))
    assert [cache.get(id_) is not None for id_ in "abcd"] == [True, False, True, True]


def test_a_generation_that_is_larger_than_all_room_is_not_kept() -> None:
    cache = Cache(5_000)
    cache.mark_current(LONG)
    put(cache, shown("a"), shown("b", prompt="x" * 10_000))
    assert cache.get("b") is None


def test_keeping_the_same_again_takes_no_more_room(cache: Cache) -> None:
    small = Cache(2 * (len(shown().body) + 600))
    small.mark_current(LONG)
    put(small, shown("b"))
    for _ in range(10):
        put(small, shown("a"))
    assert small.get("b")
    small.clear()
    small.mark_current(LONG)
    put(small, shown("a"), shown("b"))
    assert small.get("a")
    assert small.get("b")
