"""Parsing of the Agents API's generation object, and the expiry of its URLs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from service.domain.generation import Observation, Source
from service.domain.upstreams import AGENTS
from service.luma.agents import read
from service.luma.bodies import parse_object

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def parsed(body: dict[str, Any], at: datetime = NOON) -> Observation:
    """Parse a body."""
    return read(parse_object(json.dumps(body).encode()), Source.FETCH, at)


def output(*urls: str, kind: str = "image") -> dict[str, Any]:
    """Return a completed generation with these URLs."""
    return {"id": "a", "state": "completed", "output": [{"type": kind, "url": u} for u in urls]}


def signed(at: datetime, seconds: object = 3600) -> str:
    """Return a URL that is presigned as by S3."""
    return f"https://s3/o.png?X-Amz-Date={at:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}&X-Amz-Sig=x"


def test_a_documented_body_is_read_whole() -> None:
    body: dict[str, Any] = {
        "id": "d290f1ee-6c54-4b01-90e6-d701748f0851",
        "type": "image",
        "state": "processing",
        "model": "uni-1",
        "created_at": "2026-04-08T12:00:00Z",
        "output": [],
        "failure_reason": None,
        "failure_code": None,
    }
    assert parsed(body) == Observation(
        id="d290f1ee-6c54-4b01-90e6-d701748f0851",
        upstream=AGENTS,
        source=Source.FETCH,
        state="processing",
        generation_type="image",
        operation="image",
        model="uni-1",
        created_at=datetime(2026, 4, 8, 12, tzinfo=UTC),
        document=str(to_json(body), "utf-8"),
    )


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("image", "image"),
        ("image_edit", "image"),
        ("layering", "image"),
        ("video", "video"),
        ("video_edit", "video"),
        ("video_reframe", "video"),
        (None, None),
    ],
)
def test_the_kind_follows_from_the_operation(operation: str | None, kind: str | None) -> None:
    observation = parsed({"id": "a", "type": operation})
    assert (observation.operation, observation.generation_type) == (operation, kind)


def test_a_failure_has_a_reason_and_a_code() -> None:
    observation = parsed({"id": "a", "failure_reason": "no", "failure_code": "content_moderated"})
    assert (observation.failure_reason, observation.failure_code) == ("no", "content_moderated")


def test_all_outputs_are_kept_and_the_first_of_each_type_is_an_asset() -> None:
    body = {
        "id": "a",
        "output": [
            {"type": "image", "url": "https://1", "layer": 0},
            {"type": "image", "url": "https://2", "layer": {"name": "sky", "order": 1}, "x": None},
            {"type": "video", "url": "https://3", "parts": [1], "sized": {"x": 1}},
            {"url": "https://4"},
            {"type": "image", "url": ""},
            {"type": "image"},
            "https://5",
            None,
        ],
    }
    observation = parsed(body)
    assert observation.assets == {"image": "https://1", "video": "https://3"}
    assert observation.outputs == (
        {"type": "image", "url": "https://1", "layer": 0},
        {"type": "image", "url": "https://2", "layer": {"name": "sky", "order": 1}},
        {"type": "video", "url": "https://3", "parts": [1], "sized": {"x": 1}},
        {"url": "https://4"},
    )


def test_an_output_of_no_type_is_an_image() -> None:
    assert parsed({"id": "a", "output": [{"url": "https://1"}]}).assets == {"image": "https://1"}


def test_without_outputs_nothing_expires() -> None:
    assert parsed({"id": "a", "output": []}).assets_expire_at is None


def test_a_url_is_replaced_before_its_signature_runs_out() -> None:
    expiry = parsed(output(signed(NOON))).assets_expire_at
    assert expiry is not None
    assert NOON + HOUR / 2 < expiry < NOON + HOUR


def test_a_url_without_a_signature_is_good_for_the_documented_hour() -> None:
    assert (
        parsed(output("https://s3/o.png")).assets_expire_at
        == parsed(output(signed(NOON))).assets_expire_at
    )


def test_the_first_url_to_expire_counts() -> None:
    short = parsed(output(signed(NOON, 600))).assets_expire_at
    assert parsed(output(signed(NOON), signed(NOON, 600))).assets_expire_at == short
    assert short is not None
    assert short < NOON + timedelta(seconds=600)


@pytest.mark.parametrize("at", [NOON + 2 * HOUR, NOON + timedelta(days=400)])
def test_a_clock_that_disagrees_does_not_make_a_new_url_dead(at: datetime) -> None:
    expiry = parsed(output(signed(NOON)), at).assets_expire_at
    assert expiry is not None
    assert expiry > at


@pytest.mark.parametrize("seconds", [0, -1, "x", "", "nan"])
def test_a_lifetime_that_is_none_does_not_make_a_new_url_dead(seconds: object) -> None:
    expiry = parsed(output(signed(NOON, seconds))).assets_expire_at
    assert expiry is not None
    assert expiry > NOON
