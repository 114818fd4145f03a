"""How the requests under way are divided among destinations."""

from service.tracking.outbox import destination_of
from service.tracking.webhooks.shares import (
    MAX_CONCURRENT,
    MAX_PER_DESTINATION,
    MAX_PER_HOST,
    QUICK,
    Shares,
)

SLOW, FAST = QUICK + 1, QUICK / 10


def begin_all(shares: Shares, *destinations: str, most: int = MAX_CONCURRENT) -> dict[str, int]:
    """Begin as many requests as may be."""
    given = shares.divide(destinations, most)
    for name, number in given.items():
        for _ in range(number):
            shares.begin(name)
    return given


def settled(seconds: float) -> int:
    """The share of a destination all of whose requests take so long."""
    shares = Shares()
    for _ in range(20):
        under_way = sum(begin_all(shares, "a").values())
        for _ in range(under_way):
            shares.end("a", seconds)
    return sum(begin_all(shares, "a").values())


def test_a_quick_destination_gets_eight_and_a_slow_one_two() -> None:
    assert (settled(FAST), settled(SLOW)) == (MAX_PER_DESTINATION, 2)


def test_many_slow_destinations_leave_room_for_another() -> None:
    shares = Shares()
    slow = [f"slow {number}" for number in range(30)]
    for name in slow:
        begin_all(shares, name)
    assert begin_all(shares, *slow, "new") == {"new": 2}


def test_a_host_with_many_groups_of_paths_leaves_half_to_others() -> None:
    shares = Shares()
    groups = [f"https://a.example {number}" for number in range(64)]
    assert sum(begin_all(shares, *groups).values()) == MAX_PER_HOST
    assert begin_all(shares, *groups, "other") == {"other": 2}


def test_nothing_begins_beyond_what_is_allowed_in_all_and_they_take_turns() -> None:
    shares = Shares()
    names = [f"{number:02}" for number in range(5)]
    assert begin_all(shares, *names, most=4) == {"00": 2, "01": 2}
    assert begin_all(shares, *names, most=4) == {"02": 2, "03": 2}
    assert begin_all(shares, *names, most=4) == {"04": 2}


def test_urls_on_one_host_are_apart_but_few() -> None:
    at = "https://a.example/callbacks/{}?id={}"
    assert destination_of(at.format("slow", 1)) != destination_of(at.format("fast", 1))
    assert destination_of(at.format("slow", 1)) == destination_of(at.format("slow", 2))
    assert len({destination_of(at.format(number, 1)) for number in range(10_000)}) == 64
    assert destination_of("http://[") == "malformed"
