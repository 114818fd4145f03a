"""The public shape: the same bytes for the same row, and the documented keys."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.domain.generation import Generation, Observation, Source
from service.domain.merge import merge
from service.storage.representation import etag_of
from service.storage.shape import EXAMPLE, GenerationOut
from tests.reference import body_of, representation_of

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)

_TEXT = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=6,
)
_TIMES = st.none() | st.integers(0, 2**37).map(lambda n: NOON + timedelta(milliseconds=n))
_OBJECT = st.dictionaries(st.sampled_from(["type", "url", "model"]), _JSON, max_size=2)
OBSERVATIONS = st.builds(
    Observation,
    id=st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True),
    upstream=st.sampled_from(["dream_machine", "agents"]),
    source=st.sampled_from(Source),
    state=st.sampled_from([None, "queued", "completed", "failed", "new"]),
    generation_type=_TEXT,
    operation=_TEXT,
    model=_TEXT,
    prompt=_TEXT,
    failure_reason=_TEXT,
    failure_code=_TEXT,
    created_at=_TIMES,
    assets_expire_at=_TIMES,
    gone=st.booleans(),
    asked_at_rev=st.none(),
    assets=st.dictionaries(st.sampled_from(["video", "image", "x"]), st.text("a/"), max_size=3),
    outputs=st.lists(st.dictionaries(st.sampled_from(["type", "url"]), _JSON), max_size=2).map(
        tuple
    ),
    request=st.none() | st.dictionaries(st.sampled_from(["model", "keyframes"]), _JSON, max_size=2),
    parent_id=_TEXT,
    callback_url=_TEXT,
    document=st.none() | _OBJECT.map(json.dumps),
)


def row(**told: Any) -> Generation:
    """Return the row after one observation."""
    values = {"id": "a", "upstream": "dream_machine", "source": Source.CALLBACK, **told}
    return merge(None, Observation(**values), NOON)[0]


def shape(generation: Generation) -> dict[str, Any]:
    """Return the JSON that users get."""
    shown: dict[str, Any] = json.loads(body_of(generation))
    return shown


def test_the_shape_has_every_documented_key() -> None:
    documented = {
        *("id", "upstream", "state", "terminal", "generation_type", "operation", "model"),
        *("prompt", "created_at", "failure_reason", "failure_code", "assets", "outputs"),
        *("request", "parent_id", "cost_usd_estimate", "rev", "source", "verified"),
        *("gone_at", "first_seen_at", "updated_at", "finished_at", "archived"),
    }
    assert set(shape(row())) == documented
    assert set(EXAMPLE) == documented


def test_the_example_is_a_generation() -> None:
    assert GenerationOut.model_validate(EXAMPLE).model_dump(mode="json") == EXAMPLE


def test_what_is_internal_is_not_shown() -> None:
    internal = {
        "heard_at",
        "document",
        "callback_url",
        "ordered_at",
        "assets_expire_at",
        "next_check_at",
        "checks",
    }
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
    heard = row()._replace(heard_at=NOON + timedelta(hours=1))
    assert body_of(heard) == body_of(row())


def test_any_difference_that_shows_is_another_tag() -> None:
    changed = [row()._replace(rev=2), row()._replace(verified=True), row()._replace(gone_at=NOON)]
    tags = {etag_of(body_of(each)) for each in [row(), *changed]}
    assert len(tags) == 4
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


@given(seen=OBSERVATIONS)
def test_the_bytes_are_those_of_the_documented_model(seen: Observation) -> None:
    generation = merge(None, seen, NOON)[0]
    body = body_of(generation)
    model = GenerationOut.model_validate_json(body)
    assert model.model_dump_json().encode() == body
    documented = GenerationOut.model_validate(generation, from_attributes=True)
    assert documented.model_copy(update={"assets": model.assets}) == model


def test_shown_is_the_body_and_what_is_said_beside_it() -> None:
    generation = row(state="completed", prompt="a lake")
    shown = representation_of(generation, NOON)
    assert (shown.body, shown.etag) == (body_of(generation), etag_of(body_of(generation)))
    assert (shown.id, shown.rev, shown.heard_at, shown.good_until) == ("a", 1, NOON, NOON)
    assert shown.document() == shape(generation)
    assert (shown.generation().state, shown.generation().prompt) == ("completed", "a lake")


def test_waiting_is_of_no_use_when_it_is_terminal_or_gone() -> None:
    gone = row(state="queued")._replace(gone_at=NOON)
    rows = [row(state="queued"), row(state="completed"), row(state="failed"), gone]
    assert [representation_of(each).final for each in rows] == [False, True, True, True]
