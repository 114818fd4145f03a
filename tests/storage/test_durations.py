"""Durations are counted by kind and bucket, and fade."""

import pytest
from sqlalchemy import Connection, delete

from service.storage import durations

IMAGES, VIDEOS = "agents/image", "agents/video"


@pytest.fixture(autouse=True)
def _empty(connection: Connection) -> None:
    connection.execute(delete(durations.DURATIONS))


def test_each_is_counted_for_its_kind_and_bucket(connection: Connection) -> None:
    durations.add(connection, [(VIDEOS, 30), (IMAGES, 20), (VIDEOS, 30), (VIDEOS, 31)])
    durations.add(connection, [(VIDEOS, 30)])
    durations.add(connection, [])
    assert durations.find(connection, [VIDEOS, "unknown"]) == {VIDEOS: {30: 3, 31: 1}}
    assert durations.find(connection, [VIDEOS, IMAGES])[IMAGES] == {20: 1}


def test_counts_above_a_limit_are_halved(connection: Connection) -> None:
    """So a Luma that has become faster or slower is noticed."""
    durations.add(connection, [(VIDEOS, 30)] * 8 + [(VIDEOS, 31)] * 3 + [(IMAGES, 20)] * 10)
    assert durations.halve(connection, 10) == 1
    assert durations.find(connection, [VIDEOS, IMAGES]) == {
        VIDEOS: {30: 4, 31: 1},
        IMAGES: {20: 10},
    }
    assert durations.halve(connection, 10) == 0
