"""The public shape: the same bytes for the same row, and the documented keys."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from service.generation import Generation, Observation, Source
from service.listing import Page
from service.merge import merge
from service.schemas import EXAMPLE, EventsOut, GenerationOut, PageOut, body_of, etag_of
from service.store import Event

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def row(**given: Any) -> Generation:
    """A row that heard of a generation once."""
    values = {"id": "a", "upstream": "dream_machine", "source": Source.CALLBACK, **given}
    return merge(None, Observation(**values), NOON)[0]


def shape(generation: Generation) -> dict[str, Any]:
    """What users get."""
    shown: dict[str, Any] = json.loads(body_of(generation))
    return shown


def test_the_shape_has_every_documented_key() -> None:
    documented = {
        *("id", "upstream", "state", "terminal", "generation_type", "operation", "model"),
        *("prompt", "created_at", "failure_reason", "failure_code", "assets", "outputs"),
        *("request", "parent_id", "rev", "source", "verified"),
        *("gone_at", "first_seen_at", "updated_at", "finished_at"),
    }
    assert set(shape(row())) == documented
    assert set(EXAMPLE) == documented


def test_the_example_is_a_generation() -> None:
    assert GenerationOut.model_validate(EXAMPLE).model_dump(mode="json") == EXAMPLE


def test_what_is_internal_is_not_shown() -> None:
    internal = {"heard_at", "ordered_at", "assets_expire_at", "next_check_at", "checks"}
    assert not internal & set(shape(row()))


def test_times_are_utc_to_the_microsecond() -> None:
    elsewhere = datetime(2026, 5, 30, 14, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    assert shape(row(created_at=elsewhere))["created_at"] == "2026-05-30T12:00:00.000001Z"
    assert shape(row())["first_seen_at"] == "2026-05-30T12:00:00.000000Z"
    assert shape(row())["created_at"] is None


def test_the_usual_assets_are_always_there_and_others_as_they_come() -> None:
    none: dict[str, str | None] = {"video": None, "image": None, "progress_video": None}
    assert shape(row())["assets"] == none
    assets = {"image": "https://i", "hologram": "https://h"}
    assert shape(row(assets=assets))["assets"] == {**none, **assets}


def test_terminal_follows_from_the_state() -> None:
    assert [shape(row(state=s))["terminal"] for s in ("queued", "failed", "completed", "new")] == [
        False,
        True,
        True,
        False,
    ]


def test_the_same_row_is_the_same_bytes_and_the_same_tag() -> None:
    assert body_of(row(prompt="湖")) == body_of(row(prompt="湖"))
    assert etag_of(body_of(row())) == etag_of(body_of(row()))


def test_hearing_again_without_news_leaves_the_bytes_alone() -> None:
    heard = replace(row(), heard_at=NOON + timedelta(hours=1))
    assert body_of(heard) == body_of(row())


def test_any_difference_that_shows_is_another_tag() -> None:
    changed = [replace(row(), rev=2), replace(row(), verified=True), replace(row(), gone_at=NOON)]
    tags = {etag_of(body_of(each)) for each in [row(), *changed]}
    assert len(tags) == 4
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


def test_a_page_says_whether_there_is_more() -> None:
    last = PageOut.of(Page([row()], None))
    assert (last.has_more, last.next_cursor, len(last.items)) == (False, None, 1)
    more = PageOut.of(Page([row()], "c"))
    assert (more.has_more, more.next_cursor) == (True, "c")


def test_history_is_cut_at_its_limit() -> None:
    events = [Event(n, "a", None, "queued", n, "callback", NOON, None) for n in (3, 5, 8)]
    whole = EventsOut.of(events, 3)
    assert (len(whole.items), whole.next_cursor, whole.has_more) == (3, None, False)
    part = EventsOut.of(events, 2)
    assert (len(part.items), part.next_cursor, part.has_more) == (2, "5", True)
    assert EventsOut.of([], 2).model_dump() == {
        "items": [],
        "next_cursor": None,
        "has_more": False,
    }
