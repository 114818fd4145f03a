"""A list is read completely, whatever arrives and is removed between two pages."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.paging import (
    Item,
    Place,
    continues,
    fresh,
    is_newest_first,
    is_stuck,
    reached,
    step_back,
    step_on,
)
from tests.thoroughness import rounds

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


class MovingList:
    """A list, newest first, that changes before each page is read."""

    def __init__(self, length: int, *, per_second: int = 1, dated: bool = True) -> None:
        self._made = 0
        self._per_second = per_second
        self._dated = dated
        self.items: list[Item] = []
        self.arrive(length)

    def arrive(self, count: int) -> None:
        for _ in range(count):
            at = NOON + timedelta(seconds=self._made // self._per_second)
            self.items.insert(0, Item(f"g{self._made}", at if self._dated else None))
            self._made += 1

    def remove(self, places: Iterable[int]) -> None:
        gone = {place % len(self.items) for place in places if self.items}
        self.items = [item for at, item in enumerate(self.items) if at not in gone]

    def page(self, offset: int, limit: int) -> tuple[list[Item], bool]:
        return self.items[offset : offset + limit], offset + limit < len(self.items)


def read_all(moving: MovingList, changes: list[tuple[int, list[int]]], limit: int) -> list[str]:
    """Walk the list, which changes before each page until `changes` are used up."""
    place, found, pages = Place(), list[str](), 0
    bound = 20 + 6 * len(changes) + 4 * len(moving.items) + 4 * sum(n for n, _ in changes)
    while True:
        assert (pages := pages + 1) < bound, "it must end"
        page, more = moving.page(place.position, limit)
        if not continues(place, page):
            place = step_back(place)
        else:
            found += [item.id for item in fresh(place, page)]
            if not more:
                return found
            place = step_on(place, page)
            assert not is_stuck(place)
        arriving, removed = changes.pop(0) if changes else (0, [])
        moving.arrive(arriving)
        moving.remove(removed)


CHANGES = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(0, 400), max_size=40)), max_size=30
)


@settings(max_examples=rounds(100, 300), deadline=None)
@given(
    length=st.integers(0, 150),
    limit=st.integers(2, 30),
    per_second=st.sampled_from([1, 3, 1000]),
    dated=st.booleans(),
    changes=CHANGES,
)
def test_what_is_there_from_the_beginning_to_the_end_is_always_found(
    length: int,
    limit: int,
    per_second: int,
    dated: bool,
    changes: list[tuple[int, list[int]]],
) -> None:
    moving = MovingList(length, per_second=per_second, dated=dated)
    before = {item.id for item in moving.items}
    found = read_all(moving, changes, limit)
    assert before & {item.id for item in moving.items} <= set(found)


def test_a_list_that_stands_still_is_read_once() -> None:
    moving = MovingList(1000)
    assert read_all(moving, [], 100) == [item.id for item in moving.items]


def test_many_arrivals_between_two_pages_are_passed_without_a_step_back() -> None:
    moving = MovingList(60)
    before = [item.id for item in moving.items]
    found = read_all(moving, [(500, [])], 20)
    assert set(found) == set(before)
    assert len(found) <= len(before) + 1


def test_removals_lead_back_to_the_last_page() -> None:
    moving = MovingList(100)
    kept = [item.id for item in moving.items[30:]]
    found = read_all(moving, [(0, []), (0, [*range(30)])], 20)
    assert set(kept) <= set(found)
    assert len(found) == len(set(found)), "nothing is counted twice"


def test_a_page_that_comes_again_and_again_is_noticed() -> None:
    page, place = [Item("a", NOON), Item("b", NOON)], Place()
    for _ in range(11):
        assert not is_stuck(place)
        place = step_on(place, page)
    assert is_stuck(place)


@pytest.mark.parametrize(
    ("seconds", "last"),
    [([3, 2, 1], 1), ([3, 2, 2], 2), ([1, 2, 3], None), ([2, 3, 1], None), ([3, None, 1], None)],
)
def test_the_rest_of_a_list_is_only_known_to_be_older_where_it_is_newest_first(
    seconds: list[int | None], last: int | None
) -> None:
    times = [None if at is None else NOON + timedelta(seconds=at) for at in seconds]
    page = [Item(str(number), at) for number, at in enumerate(times)]
    assert is_newest_first(page) is (last is not None)
    assert reached(page) == (None if last is None else NOON + timedelta(seconds=last))
    assert reached([]) is None
