"""Costs are estimated from the price lists; what they cannot tell is unknown, never a guess."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from service.domain.generation import Generation, Observation, Source
from service.domain.merge import merge
from service.domain.upstreams import AGENTS, DREAM_MACHINE
from service.luma import agents, dream_machine
from service.luma.prices import DATES, estimate
from service.storage import generations
from tests.conftest import PAYLOADS
from tests.single import observe

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def row(upstream: str, operation: str, model: str | None = None, **given: Any) -> Generation:
    """A completed generation."""
    values = {"state": "completed", "request": None, **given}
    observation = Observation(
        "a", upstream, Source.FETCH, operation=operation, model=model, **values
    )
    return merge(None, observation, NOON)[0]


def video(model: str, resolution: object, duration: object, **request: Any) -> Generation:
    """A video of Dream Machine."""
    asked = {"resolution": resolution, "duration": duration, **request}
    return row(DREAM_MACHINE, "video", model, request=asked)


def ray(resolution: object, duration: object, operation: str = "video", **video: Any) -> Generation:
    """A video of the Agents API."""
    asked = {"video": {"resolution": resolution, "duration": duration, **video}}
    return row(AGENTS, operation, "ray-3.2", request=asked)


@pytest.mark.parametrize(
    ("model", "prices"),
    [
        ("ray-2", [0.40, 0.72, 0.71, 1.27, 0.86, 1.54, 0.96, 1.72]),
        ("ray-flash-2", [0.14, 0.25, 0.24, 0.44, 0.39, 0.71, 0.49, 0.89]),
    ],
)
def test_videos_of_dream_machine_cost_what_the_list_says(model: str, prices: list[float]) -> None:
    kinds = [(r, d) for r in ("540p", "720p", "1080p", "4k") for d in ("5s", "9s")]
    for aspect_ratio in ("16:9", "9:16", None):
        rows = [video(model, r, d, aspect_ratio=aspect_ratio) for r, d in kinds]
        assert [estimate(each) for each in rows] == prices


def test_videos_of_the_agents_api_cost_what_the_list_says() -> None:
    kinds = [(r, d) for r in ("360p", "540p", "720p", "1080p") for d in ("5s", "10s")]
    prices = [0.06, 0.18, 0.15, 0.45, 0.30, 0.90, 1.20, 3.60]
    assert [estimate(ray(*kind)) for kind in kinds] == prices
    edits = [0.54, 1.08, 0.72, 1.44, 1.08, 2.16, 2.16, 4.32]
    edited = [(ray(r, None, "video_edit"), ray("540p", d)) for r, d in kinds]
    assert [estimate(edit, source) for edit, source in edited] == edits


def test_an_extension_costs_one_block_of_5_seconds() -> None:
    assert estimate(ray("720p", "10s", start_frame={"generation_id": "b"})) == 0.30
    assert estimate(ray("720p", None, end_frame={"generation_id": "b"})) == 0.30
    assert estimate(ray("720p", "10s", start_frame={"url": "https://i"})) == 0.90


@pytest.mark.parametrize(
    ("operation", "model", "refs", "price"),
    [
        ("image", "uni-1", None, 0.0404),
        ("image", "uni-1", 0, 0.0404),
        ("image", "uni-1", 2, 0.0464),
        ("image", "uni-1-max", 1, 0.103),
        ("image_edit", "uni-1", 0, 0.0434),
        ("image_edit", "uni-1-max", 3, 0.112),
        ("layering", "uni-1", 0, None),
        ("image", "uni-2", 0, None),
    ],
)
def test_images_of_the_agents_api_cost_more_with_references(
    operation: str, model: str, refs: int | None, price: float | None
) -> None:
    request = None if refs is None else {"image_ref": [{"url": "https://i"}] * refs}
    assert estimate(row(AGENTS, operation, model, request=request)) == price


def test_upscales_and_audio_cost_by_the_length_of_their_parent() -> None:
    parent = video("ray-2", "540p", "9s")
    for resolution, price in (("720p", 0.54), ("1080p", 0.81), ("4k", 0.99), ("8k", None)):
        upscale = row(DREAM_MACHINE, "upscale_video", request={"resolution": resolution})
        assert estimate(upscale, parent) == price
        assert estimate(upscale) is None
    audio = row(DREAM_MACHINE, "add_audio", "ray-2")
    assert estimate(audio, parent) == 0.18
    assert estimate(audio) is None


def test_the_length_of_an_extended_or_upscaled_parent_is_unknown() -> None:
    audio = row(DREAM_MACHINE, "add_audio", "ray-2")
    extended = {"keyframes": {"frame0": {"type": "generation", "id": "b"}, "frame1": None}}
    upscaled = row(DREAM_MACHINE, "upscale_video", request={"resolution": "4k", "duration": "5s"})
    assert estimate(audio, video("ray-2", "540p", "5s", **extended)) is None
    assert estimate(audio, upscaled) is None


@pytest.mark.parametrize(
    "unknown",
    [
        video("ray-2", None, "5s"),
        video("ray-2", "720p", None),
        video("ray-2", "720p", "7s"),
        video("ray-2", "360p", "5s"),
        video("ray-3", "720p", "5s"),
        video("ray-1-6", "720p", "5s"),
        video("ray-2", "720p", "5s", aspect_ratio="1:1"),
        video("ray-2", "720p", "5s", aspect_ratio="21:9"),
        row(DREAM_MACHINE, "image", "photon-1", request={"aspect_ratio": "16:9"}),
        row(DREAM_MACHINE, "reframe_image", "photon-1"),
        row(DREAM_MACHINE, "reframe_video", "ray-2"),
        row(DREAM_MACHINE, "modify_video", "ray-2"),
        row(DREAM_MACHINE, "video", None),
        ray("720p", None),
        ray(None, "5s"),
        ray("720p", "5s", hdr=True),
        ray("720p", "5s", "video_edit"),
        ray("720p", "5s", "video_reframe"),
        row(AGENTS, "video", "ray-3.2"),
        row("another", "video", "ray-2", state="failed"),
    ],
)
def test_what_the_lists_cannot_tell_is_unknown(unknown: Generation) -> None:
    assert estimate(unknown) is None


@pytest.mark.parametrize("operation", ["video", "image", "upscale_video", "modify_video"])
def test_dream_machine_refunds_every_failure(operation: str) -> None:
    assert estimate(row(DREAM_MACHINE, operation, "ray-2", state="failed")) == 0


@pytest.mark.parametrize(
    ("code", "price"),
    [
        ("content_moderated", 0),
        ("generation_failed", 0),
        ("output_not_found", 0),
        ("budget_exhausted", None),
        ("image_too_large", None),
        ("rate_limited", None),
        ("something_new", None),
        (None, None),
    ],
)
def test_the_agents_api_refunds_some_failures(code: str | None, price: float | None) -> None:
    failed = ray("720p", "5s")._replace(state="failed", failure_code=code)
    assert estimate(failed) == price


def test_a_generation_that_is_not_finished_costs_its_price() -> None:
    assert estimate(video("ray-2", "720p", "5s")._replace(state="dreaming")) == 0.71


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
OFTEN = st.sampled_from(["5s", "9s", "720p", "4k", "16:9", "uni-1", "ray-2", "ray-3.2"]) | JSON
REQUEST = st.dictionaries(
    st.sampled_from(["resolution", "duration", "aspect_ratio", "keyframes", "image_ref", "video"]),
    OFTEN | st.dictionaries(st.sampled_from(["resolution", "duration", "hdr", "frame0"]), OFTEN),
)


@given(
    upstream=st.sampled_from([AGENTS, DREAM_MACHINE]),
    body=st.fixed_dictionaries(
        {"state": OFTEN, "type": OFTEN, "model": OFTEN, "failure_code": OFTEN}
    ),
    operation=st.sampled_from(["video", "image", "upscale_video", "add_audio", "video_edit"]),
    request=REQUEST,
    parents=REQUEST,
)
def test_no_body_makes_it_raise_or_answer_a_negative_price(
    upstream: str, body: dict[str, Any], operation: str, request: Any, parents: Any
) -> None:
    read = agents.read if upstream == AGENTS else dream_machine.read
    reported = read({"id": "a", **body, "request": request}, Source.FETCH, NOON)
    child = merge(None, reported._replace(operation=operation, request=request), NOON)[0]
    price = estimate(child, child._replace(operation="video", request=parents))
    assert price is None or price >= 0


def test_the_price_is_stored_with_each_revision(connection: Connection) -> None:
    bodies = [PAYLOADS[f"CONSTRUCTED_video_{state}"] for state in ("dreaming", "failed")]
    for body, price in zip(bodies, (0.71, 0.0), strict=True):
        generation_id = {"id": "priced"}
        observe(connection, dream_machine.read(body | generation_id, Source.FETCH, NOON), NOON)
        found = generations.find(connection, "priced")
        assert found is not None
        assert found.cost_usd_estimate == price


def test_the_price_of_a_child_is_stored_when_its_parent_is_known(connection: Connection) -> None:
    parent = PAYLOADS["CONSTRUCTED_video_completed"] | {"id": "parent"}
    observe(connection, dream_machine.read(parent, Source.FETCH, NOON), NOON)
    child = PAYLOADS["CONSTRUCTED_add_audio_queued"] | {"id": "child"}
    reported = dream_machine.read(child, Source.SUBMIT, NOON)
    observe(connection, reported._replace(parent_id="parent"), NOON)
    found = generations.find(connection, "child")
    assert found is not None
    assert found.cost_usd_estimate == 0.10


def test_the_lists_have_a_date() -> None:
    assert dict(DATES) == {AGENTS: "2026-10-08", DREAM_MACHINE: "2026-11-22"}
