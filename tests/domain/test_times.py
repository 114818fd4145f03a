"""Times are taken as people write them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.times import parse_time

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-05-30T12:00:00Z", NOON),
        ("2026-05-30T14:00:00+02:00", NOON),
        ("2026-05-30T12:00:00", NOON),
        ("2026-05-30 12:00", NOON),
        ("2026-05-30", NOON.replace(hour=0)),
        ("1780142400", NOON),
        ("-90s", NOON - timedelta(seconds=90)),
        ("-5m", NOON - timedelta(minutes=5)),
        ("-24h", NOON - timedelta(hours=24)),
        ("-30d", NOON - timedelta(days=30)),
        ("-2w", NOON - timedelta(weeks=2)),
    ],
)
def test_times_dates_and_relative_times_are_understood(text: str, time: datetime) -> None:
    assert parse_time(text, NOON) == time


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "yesterday",
            "24h",
            "-24",
            "-1y",
            "--1d",
            "-1.5d",
            "- 1d",
            "2026-13-01",
            "5",
            "-1e-39",
            "20260530",
        ),
        *("-999999999d", "0001-01-01T00:00:00+14:00", "-٣d"),
    ],
)
def test_what_is_no_time_says_what_would_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="-7d"):
        parse_time(text, NOON)


@given(st.text(max_size=30))
def test_no_text_does_anything_else(text: str) -> None:
    with suppress(ValueError):
        assert parse_time(text, NOON).tzinfo is UTC
