"""Attempts to send the changes of one generation."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from service.storage import attempts, outbox
from service.storage.attempts import Attempt

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def made(number: int, generation_id: str, seconds: float) -> Attempt:
    at = NOON + timedelta(seconds=seconds)
    return Attempt(f"{number:036}", generation_id, "hook", at, "completed", 200, None, None)


def test_the_attempts_of_a_generation_are_found_oldest_first(connection: Connection) -> None:
    all_ = [made(1, "g", 0), made(2, "other", 1), made(3, "g", 172_800)]
    attempts.add(connection, [(number, each) for number, each in enumerate(all_, 1)])

    def found(generation_id: str = "g", limit: int = 10) -> list[Attempt]:
        return [each.attempt for each in attempts.of_generation(connection, generation_id, limit)]

    assert found() == [all_[0], all_[2]]
    assert found(limit=1) == [all_[0]]
    assert found("none") == []


def test_attempts_have_what_they_sent_as_long_as_that_is_stored(connection: Connection) -> None:
    row = outbox.message_row(
        id_="m",
        webhook_id="hook",
        generation_id="g",
        destination="hook",
        state="completed",
        body=b"{}",
        at=NOON,
    )
    seq = outbox.add_one(connection, row)
    attempts.add(connection, [(seq, made(1, "g", 0)), (seq + 1, made(2, "g", 1))])

    sent = attempts.of_generation(connection, "g", 9)

    assert [each.body for each in sent] == [b"{}", None]
