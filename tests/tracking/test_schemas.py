"""The response models for pages and events."""

import json
from datetime import UTC, datetime

import pytest

from service.domain.generation import Observation, Source
from service.domain.merge import merge
from service.storage.events import Event
from service.storage.listing import Listed, Page
from service.tracking.schemas import EventsOut, PageOut, page_body
from tests.reference import body_of

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def row(generation_id: str) -> Listed:
    """Return a row of a page: a generation with one observation."""
    seen = Observation(id=generation_id, upstream="agents", source=Source.FETCH)
    return Listed(generation_id, 1, body_of(merge(None, seen, NOON)[0]))


def test_a_page_says_whether_there_is_more() -> None:
    last = json.loads(page_body(Page([row("a")], None)))
    assert (last["has_more"], last["next_cursor"], len(last["items"])) == (False, None, 1)
    more = json.loads(page_body(Page([row("a")], "c")))
    assert (more["has_more"], more["next_cursor"]) == (True, "c")


@pytest.mark.parametrize("ids", ["", "a", "ab"])
def test_a_page_has_the_bytes_of_the_documented_model(ids: str) -> None:
    body = page_body(Page([row(each) for each in ids], None))
    assert PageOut.model_validate_json(body).model_dump_json().encode() == body
    assert [item["id"] for item in json.loads(body)["items"]] == list(ids)


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
