"""When a message is sent again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.retries import MAX_TRIES, next_attempt

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def wait(tries: int, retry_after: str | None = None) -> float | None:
    """Seconds until the next attempt."""
    due = next_attempt(tries, NOON, retry_after)
    return (due - NOON).total_seconds() if due else None


def test_the_waits_grow_to_three_hours_and_end_after_a_day_of_them() -> None:
    waits = [wait(tries) for tries in range(1, MAX_TRIES + 1)]
    assert waits == [5, 30, 120, 600, 3600, *[10800] * 8, None]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("7", 7), (" 90 ", 90), ("0", 1), ("1e9", 86400), ("2.5", 2.5)),
        *(("Sat, 30 May 2026 12:01:00 GMT", 60), ("Sat, 30 May 2026 11:00:00 GMT", 1)),
        ("Sat, 30 May 2099 12:00:00 GMT", 86400),
        *(("-5", 1), ("nan", 5), ("inf", 86400), ("soon", 5), ("", 5)),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", 5),
        ("Wed, 21 Oct 2026 07:28:00 +99999999999999", 5),
    ],
)
def test_retry_after_replaces_the_wait_within_a_second_and_a_day(
    header: str, seconds: float
) -> None:
    assert wait(1, header) == seconds
    assert wait(MAX_TRIES, header) is None


@given(st.integers(1, 2 * MAX_TRIES), st.none() | st.text(max_size=40))
def test_any_header_leads_to_a_wait_or_the_end(tries: int, header: str | None) -> None:
    due = next_attempt(tries, NOON, header)
    assert (due is None) is (tries >= MAX_TRIES)
    assert due is None or timedelta(seconds=1) <= due - NOON <= timedelta(days=1)
