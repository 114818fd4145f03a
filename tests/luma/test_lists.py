"""A page of a list is parsed into observations, each with the nonce of our callback URL."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from service.domain.generation import Source
from service.errors import Unreadable
from service.luma.dream_machine import read
from service.luma.lists import ListPage, read_page
from service.tracking.callback_tokens import CallbackTokens
from tests.conftest import PAYLOADS

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def page(body: Any, limit: int | None = None) -> ListPage:
    """Parse a body."""
    return read_page(json.dumps(body).encode(), read, Source.BACKFILL, NOON, limit=limit)


def test_generations_are_read_in_lumas_order() -> None:
    bodies = [PAYLOADS["DOCS_image_completed"], PAYLOADS["CONSTRUCTED_video_dreaming"]]
    found = page({"generations": bodies, "has_more": True})
    assert [each.observation.id for each in found.items] == [body["id"] for body in bodies]
    assert {each.observation.source for each in found.items} == {Source.BACKFILL}
    assert found.has_more


def test_a_generation_of_ours_is_recognized_by_its_callback_url() -> None:
    tokens = CallbackTokens(["k"])
    token = tokens.single()
    grant = tokens.grant(token)
    ours = {"callback_url": f"https://tracker.example/callbacks/{token}"}
    theirs = {"callback_url": "https://program.example/callbacks/8f3a"}
    found = page({"generations": [{"id": "a", "request": ours}, {"id": "b", "request": theirs}]})
    assert grant is not None
    assert [each.nonce for each in found.items] == [grant.nonce, None]
    assert token not in repr(found.items)


def test_items_without_a_usable_id_are_left_out() -> None:
    assert page({"generations": [{"id": ""}, None, 3, [], {"id": "a"}]}).items[0].observation.id


@pytest.mark.parametrize(("limit", "more"), [(2, True), (3, False), (None, False)])
def test_where_luma_does_not_say_whether_there_are_more_a_full_page_tells(
    limit: int | None, more: bool
) -> None:
    assert page({"generations": [{"id": "a"}, {"id": "b"}]}, limit).has_more is more


@pytest.mark.parametrize("body", [[], {}, {"generations": None}, {"generations": {}}, "x", None])
def test_what_is_no_list_says_so(body: Any) -> None:
    with pytest.raises(Unreadable):
        page(body)
