"""Every method of the `lumaai` SDK works against the simulator, and its bodies are Luma's."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from lumaai import LumaAI, NotFoundError

from service.simulator import Luma, ManualClock, Plan, Simulator

BODIES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("bodies.json").read_text(encoding="utf-8")
)
MEDIA = "https://example.com/v.mp4"


def test_a_video_is_created_queued_and_completes(luma: Luma, sdk: LumaAI) -> None:
    created = sdk.generations.create(model="ray-2", prompt="a lake", loop=True)
    assert (created.state, created.assets) == ("queued", None)
    luma.advance(0.5)
    assert sdk.generations.get(str(created.id)).state == "dreaming"
    luma.advance(2.0)
    done = sdk.generations.get(str(created.id))
    assert done.state == "completed"
    assert done.assets is not None
    assert str(done.assets.video).endswith(".mp4")
    assert str(done.assets.image).endswith("_video_0_thumb.jpg")


def test_video_create_takes_the_documented_options(sdk: LumaAI) -> None:
    created = sdk.generations.video.create(
        model="ray-flash-2",
        prompt="a lake",
        keyframes={"frame0": {"type": "image", "url": "https://example.com/i.jpg"}},
        concepts=[{"key": "dolly_zoom"}],
        resolution="720p",
        duration="5s",
    )
    request = created.to_dict()["request"]
    assert isinstance(request, dict)
    assert request["keyframes"] == {"frame0": {"type": "image", "url": "https://example.com/i.jpg"}}
    assert request["concepts"] == [{"key": "dolly_zoom"}]
    assert request["aspect_ratio"] == "16:9"


def test_an_image_is_created_in_the_format_asked_for(luma: Luma, sdk: LumaAI) -> None:
    created = sdk.generations.image.create(model="photon-1", prompt="a lake", format="png")
    assert (created.generation_type, created.state) == ("image", "queued")
    luma.advance(2.5)
    assets = sdk.generations.get(str(created.id)).assets
    assert assets is not None
    assert str(assets.image).endswith(".png")


def test_a_synchronous_image_is_answered_completed(sdk: LumaAI) -> None:
    created = sdk.generations.image.create(model="photon-1", prompt="a lake", sync=True)
    assert created.state == "completed"


def test_a_synchronous_image_is_answered_as_it_stands_when_its_time_runs_out(
    luma: Luma, sdk: LumaAI
) -> None:
    created = sdk.generations.image.create(
        model="photon-1", prompt="a lake", sync=True, sync_timeout=1.5
    )
    assert created.state == "dreaming"
    luma.advance(1.0)
    assert sdk.generations.get(str(created.id)).state == "completed"


def test_an_image_is_reframed(sdk: LumaAI) -> None:
    reframed = sdk.generations.image.reframe(
        model="photon-1",
        generation_type="reframe_image",
        media={"url": MEDIA},
        aspect_ratio="1:1",
        x_start=3,
    )
    request = reframed.to_dict()["request"]
    assert isinstance(request, dict)
    assert (reframed.generation_type, request["x_start"]) == ("image", 3)


def test_a_video_is_reframed(sdk: LumaAI) -> None:
    reframed = sdk.generations.video.reframe(
        model="ray-2", generation_type="reframe_video", media={"url": MEDIA}, aspect_ratio="9:16"
    )
    assert reframed.generation_type == "video"


def test_a_video_is_modified(sdk: LumaAI) -> None:
    modified = sdk.generations.video.modify(
        model="ray-2", generation_type="modify_video", media={"url": MEDIA}, mode="flex_1"
    )
    assert modified.state == "queued"


def test_children_get_an_id_of_their_own_and_the_model_of_their_parent(
    luma: Luma, sdk: LumaAI
) -> None:
    parent = luma.create(model="ray-flash-2")
    upscaled = sdk.generations.upscale(parent, resolution="4k")
    voiced = sdk.generations.audio(parent, prompt="birds", negative_prompt="cars")
    assert len({parent, upscaled.id, voiced.id}) == 3
    assert upscaled.model == voiced.model == "ray-flash-2"


def test_children_may_be_asked_for_without_any_options(luma: Luma, sdk: LumaAI) -> None:
    parent = luma.create()
    assert sdk.generations.upscale(parent).state == "queued"
    assert sdk.generations.audio(parent).state == "queued"


def test_the_list_is_paged_newest_first(luma: Luma, sdk: LumaAI) -> None:
    ids = [luma.create() for _ in range(5)]
    luma.create("image", upstream="agents")
    page = sdk.generations.list(limit=2, offset=1)
    assert [each.id for each in page.generations] == [ids[3], ids[2]]
    assert (page.has_more, page.count, page.limit, page.offset) == (True, 2, 2, 1)
    last = sdk.generations.list(limit=2, offset=3)
    assert (last.has_more, len(last.generations)) == (False, 2)


def test_the_list_has_a_hundred_rows_unless_told_otherwise(luma: Luma, sdk: LumaAI) -> None:
    luma.create()
    page = sdk.generations.list()
    assert (page.limit, page.offset, page.count) == (100, 0, 1)


def test_a_page_has_at_most_a_hundred_rows_whatever_is_asked_for(luma: Luma, sdk: LumaAI) -> None:
    ids = [luma.create() for _ in range(101)]
    page = sdk.generations.list(limit=1000)
    assert (page.limit, page.count, page.has_more) == (100, 100, True)
    assert [each.id for each in sdk.generations.list(limit=1000, offset=100).generations] == ids[:1]


def test_the_cap_of_a_page_can_be_chosen(one_sdk: LumaAI) -> None:
    with Simulator(clock=ManualClock(), list_limit_cap=2).running() as luma:
        ids = [luma.create() for _ in range(3)]
        sdk = one_sdk.with_options(base_url=luma.dream_machine_url)
        assert [str(each.id) for each in sdk.generations.list().generations] == ids[:0:-1]


def test_the_list_moves_between_two_pages(luma: Luma, sdk: LumaAI) -> None:
    ids = [luma.create() for _ in range(4)]
    first = sdk.generations.list(limit=2)
    luma.create()
    second = sdk.generations.list(limit=2, offset=2)
    assert first.generations[1].id == second.generations[0].id == ids[2], "seen twice"
    sdk.generations.delete(ids[3])
    sdk.generations.delete(ids[2])
    third = sdk.generations.list(limit=2, offset=2)
    assert [each.id for each in third.generations] == [ids[0]], "and one was skipped"


@pytest.mark.parametrize("kind", ["lumaai", "luma_agents"])
def test_an_idempotency_key_is_ignored(kind: str, luma: Luma) -> None:
    """Luma does not document such a header, and its SDKs send none."""
    url = luma.dream_machine_url if kind == "lumaai" else luma.agents_url
    headers = {"Authorization": "Bearer key", "Idempotency-Key": "mine"}
    body = {"model": "ray-2" if kind == "lumaai" else "uni-1", "prompt": "a lake"}
    with httpx.Client(headers=headers, trust_env=False) as client:
        made = [client.post(f"{url}/generations", json=body) for _ in range(2)]
    assert [each.status_code for each in made] == [201, 201]
    assert made[0].json()["id"] != made[1].json()["id"]


def test_a_deleted_generation_is_gone_and_moves_no_more(luma: Luma, sdk: LumaAI) -> None:
    made = luma.create()
    sdk.generations.delete(made)
    luma.advance(10)
    with pytest.raises(NotFoundError):
        sdk.generations.get(made)
    assert sdk.generations.list().generations == []


def test_delete_answers_204_without_a_body(luma: Luma, sdk: LumaAI) -> None:
    response = sdk.generations.with_raw_response.delete(luma.create())
    assert (response.status_code, response.http_response.content) == (204, b"")


def test_credits_ping_and_concepts_answer(sdk: LumaAI) -> None:
    assert sdk.credits.get().credit_balance > 0
    assert sdk.ping.check().message == "pong"
    assert "dolly_zoom" in sdk.generations.concepts.list()


def test_the_two_old_routes_still_answer(luma: Luma) -> None:
    with httpx.Client(headers={"Authorization": "Bearer key"}) as client:
        motions = client.get(f"{luma.dream_machine_url}/generations/camera_motion/list")
        body = {"model": "ray-1-6", "prompt": "a lake"}
        created = client.post(f"{luma.dream_machine_url}/generations", json=body)
    assert "camera orbit left" in motions.json()
    assert created.status_code == 201
    assert created.json()["model"] == "ray-1-6"


@pytest.mark.parametrize("name", sorted(BODIES))
def test_every_body_is_the_one_we_know_of_luma(name: str, luma: Luma) -> None:
    """The same keys in the same order with the same values; asset URLs only in the same form."""
    known = BODIES[name]
    fields = dict(known["request"])
    plan = Plan(
        outcome="failed" if known["state"] == "failed" else "completed",
        progress_video=name.endswith("with_progress"),
    )
    luma.create(fields["generation_type"], id=known["id"], plan=plan, **fields)
    luma.advance({"queued": 0.0, "dreaming": 0.5}.get(known["state"], 2.5))
    assert _without_digits(luma.body(known["id"])) == _without_digits(known)


def _without_digits(body: dict[str, Any]) -> str:
    """As text, so that the order of keys counts; hexadecimal parts of URLs are masked."""
    text = json.dumps({**body, "assets": None} | {"assets": body["assets"]})
    text = text.replace("60.0", "60")
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    return re.sub(r"(result|image)[0-9a-f]{16,33}\.", r"\1HEX.", text)
