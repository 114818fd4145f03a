"""One walk at a time, continued by one instance at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from service.domain.paging import Place
from service.storage import backfills
from service.storage.backfills import DONE, Walk

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
LEASE = timedelta(seconds=10)
BOTH = ["dream_machine", "agents"]


def walk(**given: Any) -> Walk:
    """A walk of the instance `one`."""
    values: dict[str, Any] = {
        "upstream": "dream_machine",
        "since": None,
        "everything": False,
        "started_at": NOON,
        "owner": "one",
        "heard_at": NOON,
    }
    return Walk(**{**values, **given})


def test_a_walk_is_read_as_it_was_written(connection: Connection) -> None:
    place = Place(90, ("a", "b"), NOON, NOON - LEASE)
    full = walk(since=NOON - LEASE, place=place, pages=3, seen=2, new=1, error="e", failure="f")
    started, is_new = backfills.start(connection, full)
    assert (started, is_new) == (full, True)
    assert backfills.find(connection, "dream_machine") == full
    assert backfills.newest(connection) == full
    assert backfills.find(connection, "agents") is None


def test_a_second_one_does_not_start_while_one_is_running(connection: Connection) -> None:
    first, _ = backfills.start(connection, walk())
    for wanted in (walk(owner="two"), walk(upstream="agents")):
        assert backfills.start(connection, wanted) == (first, False)
    assert backfills.any_running(connection)
    assert backfills.save(connection, first._replace(state=DONE, known_until=NOON))
    assert not backfills.any_running(connection)
    later, is_new = backfills.start(connection, walk(started_at=NOON + LEASE, owner="two"))
    assert is_new
    assert later.known_until == NOON, "what earlier walks have read stays known"


def test_the_newest_is_the_one_that_started_last(connection: Connection) -> None:
    backfills.start(connection, walk(state=DONE))
    last, _ = backfills.start(connection, walk(upstream="agents", started_at=NOON + LEASE))
    assert backfills.newest(connection) == last


@pytest.mark.parametrize(
    ("owner", "later", "upstreams", "claimed"),
    [
        ("one", 0, BOTH, True),
        ("two", 10, BOTH, False),
        ("two", 11, BOTH, True),
        ("two", -61, BOTH, True),  # the clock of the owner was ahead
        ("two", -5, BOTH, False),
        ("two", 11, ["agents"], False),
    ],
)
def test_a_walk_is_its_owners_until_the_owner_no_longer_reports(
    connection: Connection, owner: str, later: int, upstreams: list[str], *, claimed: bool
) -> None:
    backfills.start(connection, walk())
    now = NOON + timedelta(seconds=later)
    found = backfills.claim(connection, owner, upstreams, now, LEASE)
    assert found == (walk(owner=owner, heard_at=now) if claimed else None)


def test_who_has_lost_a_walk_cannot_write_it(connection: Connection) -> None:
    mine, _ = backfills.start(connection, walk())
    assert backfills.report(connection, mine, NOON + LEASE)
    taken = backfills.claim(connection, "two", BOTH, NOON + 3 * LEASE, LEASE)
    assert taken is not None
    assert not backfills.save(connection, mine)
    assert not backfills.report(connection, mine, NOON)
    assert backfills.save(connection, taken._replace(state=DONE))
    assert not backfills.save(connection, taken), "what is done stays done"


EARLIER = NOON - timedelta(days=1)


@pytest.mark.parametrize(
    ("running", "wanted", "covers"),
    [
        ({}, {}, True),
        ({}, {"everything": True}, False),
        ({"everything": True}, {}, True),
        ({"everything": True}, {"since": NOON}, True),
        ({"everything": True}, {"everything": True}, True),
        ({"everything": True}, {"upstream": "agents"}, False),
        ({"since": NOON}, {}, False),
        ({}, {"since": NOON}, False),
        ({"since": EARLIER}, {"since": NOON}, True),
        ({"since": NOON}, {"since": EARLIER}, False),
    ],
)
def test_a_running_walk_covers_what_reads_no_more(
    running: dict[str, Any], wanted: dict[str, Any], *, covers: bool
) -> None:
    assert walk(**running).covers(walk(**wanted)) is covers
