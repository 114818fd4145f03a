"""Parsing of Dream Machine's generation object, in current, older and incomplete formats."""

import json
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from pydantic_core import to_json

from service.domain.generation import Generation, Observation, Source
from service.domain.merge import merge
from service.domain.upstreams import DREAM_MACHINE
from service.luma.bodies import parse_object
from service.luma.dream_machine import read
from tests.conftest import PAYLOADS

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def parsed(body: dict[str, Any], source: Source = Source.CALLBACK) -> Observation:
    """Parse a body."""
    return read(parse_object(json.dumps(body).encode()), source, NOON)


def test_a_real_record_is_read_whole() -> None:
    body = PAYLOADS["REAL_video_completed_ray-1-6_2024-12-26"]
    assert parsed(body) == Observation(
        id="719d000e-2c0d-4348-ab8c-17fd58931691",
        upstream=DREAM_MACHINE,
        source=Source.CALLBACK,
        state="completed",
        generation_type="video",
        operation="video",
        model="ray-1-6",
        prompt="an old lady laughing underwater, wearing a scuba diving suit",
        created_at=datetime(2024, 12, 26, 8, 36, 58, 236000, tzinfo=UTC),
        assets=body["assets"],
        request=body["request"],
        document=str(to_json(body), "utf-8"),
    )


def test_older_bodies_say_type_and_version() -> None:
    observation = parsed({"id": "a", "type": "image", "version": "v1.6"})
    assert (observation.generation_type, observation.operation, observation.model) == (
        "image",
        "image",
        "v1.6",
    )


def test_newer_names_go_before_the_older() -> None:
    observation = parsed(
        {"id": "a", "generation_type": "video", "type": "x", "model": "m", "version": "v"}
    )
    assert (observation.generation_type, observation.model) == ("video", "m")


def test_the_documented_image_is_an_image_without_its_empty_assets() -> None:
    observation = parsed(PAYLOADS["DOCS_image_completed"])
    assert (observation.generation_type, observation.operation) == ("image", "image")
    assert observation.assets == {"image": "https://image.jpg"}
    assert observation.model == "photon-v1.0"


@pytest.mark.parametrize(
    "operation",
    [
        "video",
        "image",
        "upscale_video",
        "add_audio",
        "reframe_video",
        "reframe_image",
        "modify_video",
    ],
)
@pytest.mark.parametrize("state", ["queued", "dreaming", "completed", "failed"])
def test_the_operation_is_what_was_asked_for(operation: str, state: str) -> None:
    body = PAYLOADS[f"CONSTRUCTED_{operation}_{state}"]
    observation = parsed(body)
    assert (observation.operation, observation.state) == (operation, state)
    assert observation.failure_reason == body["failure_reason"]
    assert observation.generation_type in ("video", "image")


def test_a_partial_render_is_an_asset() -> None:
    observation = parsed(PAYLOADS["CONSTRUCTED_video_dreaming_with_progress"])
    assert observation.state == "dreaming"
    assert list(observation.assets) == ["progress_video"]


def test_our_callback_url_does_not_get_in() -> None:
    observation = parsed(PAYLOADS["CONSTRUCTED_video_queued"])
    assert observation.request is not None
    assert observation.request["callback_url"] == "[redacted]"


def test_an_id_alone_is_enough() -> None:
    assert parsed({"id": "a"}) == Observation(
        id="a", upstream=DREAM_MACHINE, source=Source.CALLBACK, document='{"id":"a"}'
    )


def test_the_model_may_stand_in_the_request_alone() -> None:
    assert parsed({"id": "a", "request": {"model": "ray-2"}}).model == "ray-2"


def folded(*bodies: dict[str, Any]) -> Generation:
    """Return the row after these callbacks."""
    row: Generation | None = None
    for body in bodies:
        row, _ = merge(row, parsed(body), NOON)
    assert row is not None
    return row


@pytest.mark.parametrize("operation", ["upscale_video", "add_audio", "video", "reframe_image"])
def test_a_callback_without_its_request_does_not_settle_what_was_asked_for(operation: str) -> None:
    whole = PAYLOADS[f"CONSTRUCTED_{operation}_completed"]
    without = dict(PAYLOADS[f"CONSTRUCTED_{operation}_dreaming"])
    del without["request"]
    assert {folded(*order).operation for order in permutations([whole, without])} == {operation}
    earlier = PAYLOADS[f"CONSTRUCTED_{operation}_queued"]
    assert {folded(*order).operation for order in permutations([earlier, without])} == {operation}


def test_an_older_callback_without_a_model_does_not_settle_the_model() -> None:
    whole = PAYLOADS["DOCS_image_completed"]
    without = {**whole, "model": None}
    models = {folded(*order).model for order in permutations([whole, without])}
    assert models == {"photon-v1.0"}
