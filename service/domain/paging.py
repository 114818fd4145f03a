"""Reads a list completely by offset, although it changes meanwhile. Pure.

The list is newest first. Arrivals at its top move the other items down; removals move them up.
Each page therefore overlaps the one before. If the overlap is missing, items may have moved up past
the position, so the walk steps back until it meets the last page again:

    a b c d e|f g h i j     the first page ends after e; the next begins at d
    b d|e f g h i j         a and c are removed: the next page has e, so nothing is missed
    f g h|i j               b, d and e are removed: the page i j has none of the last: step back
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

_OVERLAP = 10  # items
_MOST_REPEATS = 10  # pages in a row without an item that the last page did not have


class Item(NamedTuple):
    """One item of a list."""

    id: str
    created_at: datetime | None


class Place(NamedTuple):
    """How far a walk has come."""

    position: int = 0
    """The offset of the next page."""
    last_ids: tuple[str, ...] = ()
    """The ids of the last page that continued the list."""
    newest: datetime | None = None
    """When the newest item of the first page was created."""
    oldest: datetime | None = None
    """When the oldest item so far was created."""
    steps_back: int = 0
    """In a row, without meeting the last page again."""
    repeats: int = 0
    """Pages in a row that only had items of the last page."""


def continues(place: Place, page: Sequence[Item]) -> bool:
    """Whether no item can be missing between the last page and this one."""
    if place.position == 0 or not place.last_ids:
        return True
    if any(item.id in place.last_ids for item in page):
        return True
    first = page[0].created_at if page else None
    return bool(
        first and place.oldest and first > place.oldest and is_newest_first(page)
    )  # it begins above the oldest item so far: there were many arrivals, or steps back


def step_back(place: Place) -> Place:
    """Go back to look for the last page, twice as far each time."""
    distance = len(place.last_ids) * 2**place.steps_back
    return place._replace(
        position=max(0, place.position - distance), steps_back=place.steps_back + 1
    )


def step_on(place: Place, page: Sequence[Item]) -> Place:
    """Go on behind a page that is not empty and continues the list."""
    times = [item.created_at for item in page if item.created_at]
    overlap = min(_OVERLAP, len(page) // 2)
    repeats = all(item.id in place.last_ids for item in page)
    return Place(
        position=place.position + len(page) - overlap,
        last_ids=tuple(item.id for item in page),
        newest=place.newest if place.last_ids else max(times, default=None),
        oldest=min([*times, *([place.oldest] if place.oldest else [])], default=None),
        repeats=place.repeats + 1 if repeats else 0,
    )


def is_stuck(place: Place) -> bool:
    """Whether the walk gets the same page again and again, whatever its offset."""
    return place.repeats >= _MOST_REPEATS


def fresh(place: Place, page: Sequence[Item]) -> list[Item]:
    """Return the items that the walk has not come across yet, without those that arrived since."""
    newer_than = place.oldest if is_newest_first(page) else None
    items = {item.id: item for item in page if item.id not in place.last_ids}
    return [
        item
        for item in items.values()
        if not (newer_than and item.created_at and item.created_at > newer_than)
    ]


def reached(page: Sequence[Item]) -> datetime | None:
    """Return the time up to which the items after this page were created; None if unknown."""
    return page[-1].created_at if page and is_newest_first(page) else None


def is_newest_first(page: Sequence[Item]) -> bool:
    """Whether the items are in the order of their creation, the newest first."""
    times = [item.created_at for item in page]
    known = [time for time in times if time]
    return len(known) == len(times) and all(a >= b for a, b in pairwise(known))
