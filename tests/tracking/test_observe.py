"""Storing observations: bodies are kept byte for byte, folded once, and not lost to a bug."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from service.config import Settings
from service.domain.generation import Generation, Observation, Outcome, Source
from service.errors import StoreUnavailable, Unreadable
from service.storage import deliveries, events, generations, migrating
from service.storage.engine import open_database
from service.tracking.callback_tokens import Grant
from service.tracking.callbacks import Callback, Receipt, receive
from tests.conftest import PAYLOADS
from tests.databases import curse, lift
from tests.single import observe, record

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)


def body_of(name: str, **changed: Any) -> bytes:
    """Return a callback's body."""
    return json.dumps({**PAYLOADS[name], **changed}).encode()


DREAMING = body_of("CONSTRUCTED_video_dreaming")
COMPLETED = body_of("CONSTRUCTED_video_completed")
ID = PAYLOADS["CONSTRUCTED_video_completed"]["id"]


def kept_deliveries(connection: Connection) -> list[dict[str, Any]]:
    """The inbox, oldest first."""
    rows = connection.execute(select(deliveries.DELIVERIES).order_by(deliveries.DELIVERIES.c.id))
    return [dict(row) for row in rows.mappings()]


def history(connection: Connection) -> list[tuple[str | None, str, int, str]]:
    """Return the events of the generation."""
    found = events.of_generation(connection, ID, after=0, limit=100)
    return [(event.from_state, event.to_state, event.rev, event.source) for event in found]


def row(connection: Connection) -> Generation:
    """The generation."""
    found = generations.find(connection, ID)
    assert found is not None
    return found


def fetched(state: str, **given: Any) -> Observation:
    """Return an observation from a fetch."""
    return Observation(id=ID, upstream="dream_machine", source=Source.FETCH, state=state, **given)


def test_a_callback_is_kept_byte_for_byte_and_folded(connection: Connection) -> None:
    spaced = b"\n " + COMPLETED + b" \n"
    receipt = record(connection, spaced, Grant(), NOON)
    (kept,) = kept_deliveries(connection)
    assert receipt == Receipt(kept["id"], Outcome.APPLIED, ID)
    assert kept["body"] == spaced
    assert (kept["outcome"], kept["error"], kept["duplicates"]) == ("applied", None, 0)
    assert (kept["generation_id"], kept["received_at"], kept["handled_at"]) == (ID, NOON, NOON)
    assert (row(connection).state, row(connection).verified) == ("completed", False)


def test_every_change_leaves_an_event_that_names_its_delivery(connection: Connection) -> None:
    record(connection, DREAMING, Grant(), NOON)
    record(connection, COMPLETED, Grant(), LATER)
    assert history(connection) == [
        (None, "dreaming", 1, "callback"),
        ("dreaming", "completed", 2, "callback"),
    ]
    found = events.of_generation(connection, ID, after=0, limit=9)
    assert [event.delivery_id for event in found] == [d["id"] for d in kept_deliveries(connection)]
    assert [event.at for event in found] == [NOON, LATER]


def test_the_same_bytes_again_are_counted_and_change_nothing(connection: Connection) -> None:
    record(connection, COMPLETED, Grant(), NOON)
    before = row(connection)
    for _ in range(3):
        assert record(connection, COMPLETED, Grant(), LATER).outcome is Outcome.UNCHANGED
    (kept,) = kept_deliveries(connection)
    assert (kept["duplicates"], kept["outcome"], kept["handled_at"]) == (3, "applied", NOON)
    assert len(history(connection)) == 1
    assert (row(connection).rev, row(connection).heard_at) == (before.rev, LATER)


def test_the_same_said_in_other_bytes_is_another_delivery_and_no_change(
    connection: Connection,
) -> None:
    record(connection, COMPLETED, Grant(), NOON)
    receipt = record(connection, COMPLETED + b"\n", Grant(), LATER)
    assert receipt.outcome is Outcome.UNCHANGED
    assert [d["outcome"] for d in kept_deliveries(connection)] == ["applied", "unchanged"]
    assert len(history(connection)) == 1


def test_a_state_that_comes_late_is_stale(connection: Connection) -> None:
    record(connection, COMPLETED, Grant(), NOON)
    bare = json.dumps({"id": ID, "state": "dreaming"}).encode()
    assert record(connection, bare, Grant(), LATER).outcome is Outcome.STALE
    assert [d["outcome"] for d in kept_deliveries(connection)] == ["applied", "stale"]
    assert row(connection).state == "completed"


@pytest.mark.parametrize("body", [b"", b"\xff", b"<html>", b"[]", b'{"id": 1}', b"[" * 5000])
def test_what_cannot_be_read_is_kept_with_the_reason(connection: Connection, body: bytes) -> None:
    for times in range(2):
        receipt = record(connection, body, Grant(), NOON)
        assert (receipt.outcome, receipt.generation_id) == (Outcome.KEPT, None)
        assert isinstance(receipt.unreadable, Unreadable)
        (kept,) = kept_deliveries(connection)
        assert receipt.delivery_id == kept["id"]
        assert (kept["body"], kept["outcome"], kept["duplicates"]) == (body, "kept", times)
        assert (kept["error"], kept["handled_at"]) == (str(receipt.unreadable), None)


def test_a_fold_that_raises_keeps_the_delivery_with_its_error(connection: Connection) -> None:
    curse(connection)
    with capture_logs() as said:
        receipt = record(connection, COMPLETED, Grant(), NOON)
    (kept,) = kept_deliveries(connection)
    assert receipt == Receipt(kept["id"], Outcome.KEPT, ID)
    assert (kept["body"], kept["outcome"], kept["handled_at"]) == (COMPLETED, "kept", None)
    assert kept["generation_id"] == ID
    assert "cursed" in kept["error"]
    assert generations.find(connection, ID) is None
    assert history(connection) == []
    (line,) = said
    assert (line["event"], line["log_level"]) == ("fold_failed", "error")
    assert (line["delivery_id"], line["generation_id"]) == (kept["id"], ID)


def test_half_a_fold_is_undone_whole(connection: Connection) -> None:
    curse(connection, "events")
    assert record(connection, COMPLETED, Grant(), NOON).outcome is Outcome.KEPT
    assert generations.find(connection, ID) is None, "no row without its event"


def test_a_delivery_that_was_kept_is_folded_when_it_comes_again(connection: Connection) -> None:
    curse(connection)
    record(connection, COMPLETED, Grant(), NOON)
    lift(connection)
    assert record(connection, COMPLETED, Grant(), LATER).outcome is Outcome.APPLIED
    (kept,) = kept_deliveries(connection)
    assert (kept["outcome"], kept["error"], kept["duplicates"]) == ("applied", None, 1)
    assert (kept["received_at"], kept["handled_at"]) == (NOON, LATER)
    assert row(connection).state == "completed"


def test_an_error_of_the_database_itself_is_not_taken_for_the_bodys(
    connection: Connection,
) -> None:
    connection.execute(text("ALTER TABLE events RENAME TO away"))
    with pytest.raises(DBAPIError):
        record(connection, COMPLETED, Grant(), NOON)


async def test_when_the_database_fails_nothing_is_kept_and_luma_may_try_again(
    settings: Settings,
) -> None:
    async with open_database(settings.database_url) as database:
        await database.exclusively(migrating.upgrade)
        await database.write(lambda c: c.execute(text("ALTER TABLE events RENAME TO away")))
        with pytest.raises(StoreUnavailable):
            await database.write_all(receive, Callback(COMPLETED, Grant(), NOON))
        assert await database.read(kept_deliveries) == []
        await database.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO events")))
        receipt = await database.write_all(receive, Callback(COMPLETED, Grant(), NOON))
        assert receipt.outcome is Outcome.APPLIED
        (kept,) = await database.read(kept_deliveries)
        assert kept["duplicates"] == 0


def test_after_a_claim_was_overruled_the_same_bytes_are_news(connection: Connection) -> None:
    record(connection, COMPLETED, Grant(), NOON)
    overruled, outcome = observe(connection, fetched("dreaming", asked_at_rev=1), LATER)
    assert (overruled.state, overruled.rev, outcome) == ("dreaming", 2, Outcome.APPLIED)
    assert record(connection, COMPLETED, Grant(), LATER).outcome is Outcome.APPLIED
    assert (row(connection).state, row(connection).rev) == ("completed", 3)
    assert history(connection) == [
        (None, "completed", 1, "callback"),
        ("completed", "dreaming", 2, "fetch"),
        ("dreaming", "completed", 3, "callback"),
    ]
    assert [d["duplicates"] for d in kept_deliveries(connection)] == [1]


def test_an_answer_asked_for_before_the_callback_came_leaves_it_standing(
    connection: Connection,
) -> None:
    record(connection, COMPLETED, Grant(), NOON)
    after, outcome = observe(connection, fetched("dreaming", asked_at_rev=0), LATER)
    assert (after.state, outcome) == ("completed", Outcome.STALE)


def test_a_confirmation_is_an_event_and_its_repetition_is_none(connection: Connection) -> None:
    record(connection, COMPLETED, Grant(), NOON)
    assets = PAYLOADS["CONSTRUCTED_video_completed"]["assets"]
    for _ in range(2):
        after, _ = observe(connection, fetched("completed", assets=assets), LATER)
    assert (after.verified, after.rev, after.source) == (True, 2, Source.FETCH)
    assert history(connection)[1:] == [("completed", "completed", 2, "fetch")]
    assert row(connection) == after


def test_hearing_nothing_new_is_stored_without_an_event(connection: Connection) -> None:
    observe(connection, fetched("queued"), NOON)
    observe(connection, fetched("queued"), LATER)
    assert (row(connection).heard_at, row(connection).updated_at) == (LATER, NOON)
    assert len(history(connection)) == 1


@pytest.mark.parametrize("created_at", ["2027-05-30T12:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_of_creation_ahead_of_our_clock_does_not_put_off_when_luma_is_asked(
    connection: Connection, created_at: str
) -> None:
    body = json.dumps({"id": ID, "state": "queued", "created_at": created_at}).encode()
    assert record(connection, body, Grant(), NOON).outcome is Outcome.APPLIED
    next_check_at = row(connection).next_check_at
    assert next_check_at is not None
    assert NOON < next_check_at < NOON + timedelta(minutes=1)


def test_the_creators_callback_url_is_in_the_inbox_and_the_document_alone(
    connection: Connection,
) -> None:
    body = body_of("CONSTRUCTED_video_completed")
    assert b"https://example.com/luma" in body
    record(connection, body, Grant(), NOON)
    assert kept_deliveries(connection)[0]["body"] == body
    found = row(connection)
    assert "example.com/luma" in str(found.document)
    assert "example.com/luma" not in repr(found._replace(document=None))
