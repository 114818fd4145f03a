"""The MCP tools that create, called by a client of the real SDK."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.mcp_server import Caller, Service, make_server
from service.simulator import Fault, Luma
from tests.conftest import Clock
from tests.mcp_server.conftest import service_of
from tests.mcp_server.test_server import call, text_of

pytestmark = pytest.mark.either_database

VIDEO = {"prompt": "a lake at dawn"}
IMAGE_URL = "https://example.com/a.png"
WRITES = {
    "create_generation": VIDEO,
    "generate_image": VIDEO,
    "upscale_generation": {"generation_id": "a", "resolution": "1080p"},
    "add_audio": {"generation_id": "a", "prompt": "waves"},
    "delete_generation": {"generation_id": "a"},
}


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A connected client that may write."""
    async with Client(make_server(service)) as connected:
        yield connected


def posted(luma: Luma) -> list[dict[str, Any]]:
    """The bodies of all creates that Luma has received."""
    bodies: list[dict[str, Any]] = [
        json.loads(each.body) for each in luma.requests if each.method == "POST"
    ]
    return bodies


def made(result: CallToolResult) -> dict[str, Any]:
    """The structured content of a success."""
    assert not result.is_error, text_of(result)
    content: dict[str, Any] | None = result.structured_content
    assert content
    return content


async def test_a_video_is_created_and_told_at_once(client: Client, luma: Luma) -> None:
    result = await call(
        client, "create_generation", **VIDEO, model="ray-2", resolution="720p", duration="5s"
    )
    created = made(result)
    lines = text_of(result).splitlines()
    assert lines[:2] == [f"Generation ID: {created['id']}", "State: queued"]
    assert "Estimated price: $0.71" in lines
    assert lines[-1] == f"Call wait_for_generation with generation_id {created['id']}."
    assert created["next_step"] == lines[-1]
    assert created["cost_usd_estimate"] == 0.71
    assert created["source"] == "submit"
    assert [each.path for each in luma.requests] == ["/dream-machine/v1/generations/video"]
    [body] = posted(luma)
    assert body == {
        "generation_type": "video",
        "prompt": "a lake at dawn",
        "model": "ray-2",
        "resolution": "720p",
        "duration": "5s",
    }


async def test_the_arguments_go_to_luma_in_its_own_form(client: Client, luma: Luma) -> None:
    frames = {"frame0": {"type": "image", "url": IMAGE_URL}}
    more = {"loop": True, "aspect_ratio": "9:21", "concepts": [{"key": "orbit_left"}]}
    created = made(
        await call(client, "create_generation", **VIDEO, **more, keyframes=frames, user_id=None)
    )
    assert posted(luma)[0].items() >= {**more, "keyframes": frames}.items()
    chained = {"frame1": {"type": "generation", "id": created["id"]}}
    child = made(await call(client, "create_generation", **VIDEO, keyframes=chained))
    assert child["parent_id"] == created["id"]


async def test_the_model_chooses_the_agents_api_and_its_form(client: Client, luma: Luma) -> None:
    created = made(
        await call(
            client,
            "create_generation",
            **VIDEO,
            model="ray-3.2",
            resolution="360p",
            duration="10s",
            keyframes={"frame0": {"type": "image", "url": IMAGE_URL}},
            video={"hdr": False, "keyframe_indexes": [0]},
            user_id="u",
        )
    )
    assert created["upstream"] == "agents"
    [body] = posted(luma)
    assert body == {
        "type": "video",
        "prompt": "a lake at dawn",
        "model": "ray-3.2",
        "user_id": "u",
        "video": {
            "resolution": "360p",
            "duration": "10s",
            "hdr": False,
            "keyframe_indexes": [0],
            "start_frame": {"url": IMAGE_URL},
        },
    }


async def test_a_video_is_edited_by_its_source(client: Client, luma: Luma) -> None:
    source = {"generation_id": "d290f1ee-6c54-4b01-90e6-d701748f0851"}
    video = {"edit": {"strength": "flex_2", "keyframes": [{"url": IMAGE_URL}]}}
    edit = {"model": "ray-3.2", "type": "video_edit", "source": source, "video": video}
    created = made(await call(client, "create_generation", **VIDEO, **edit))
    assert posted(luma)[0].items() >= edit.items()
    assert created["parent_id"] == source["generation_id"]


@pytest.mark.parametrize("model", ["photon-1", "photon-flash-1", "uni-1", "uni-1-max"])
async def test_an_image_that_is_not_finished_is_no_error(
    client: Client, luma: Luma, clock: Clock, model: str
) -> None:
    result = await call(client, "generate_image", **VIDEO, model=model)
    created = made(result)
    assert not created["terminal"]
    assert created["generation_type"] == "image"
    assert "Image URL" not in text_of(result)
    assert "wait_for_generation" in created["next_step"]
    luma.advance(60)
    clock.turn(60)  # now the row is stale, so that the wait asks Luma
    waited = await call(client, "wait_for_generation", generation_id=created["id"])
    assert f"Image URL: {made(waited)['assets']['image']}" in text_of(waited).splitlines()


async def test_images_take_references_of_both_apis(client: Client, luma: Luma) -> None:
    photon = {
        "image_ref": [{"url": IMAGE_URL, "weight": 0.5}],
        "style_ref": [{"url": IMAGE_URL}],
        "character_ref": {"identity0": {"images": [IMAGE_URL]}},
        "modify_image_ref": {"url": IMAGE_URL, "weight": 1.0},
        "format": "png",
    }
    uni = {
        "model": "uni-1",
        "image_ref": [{"file_id": "f"}, {"data": "aGk=", "media_type": "image/png"}],
        "source": {"url": IMAGE_URL},
        "output_format": "jpeg",
        "style": "manga",
        "web_search": True,
    }
    for given in (photon, uni):
        made(await call(client, "generate_image", **VIDEO, **given))
    by_photon, by_uni = posted(luma)
    assert by_photon.items() >= photon.items()
    assert by_uni.items() >= {**uni, "type": "image_edit"}.items()


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("create_generation", {}, "prompt"),
        ("create_generation", {"prompt": "  "}, "empty"),
        ("create_generation", {"prompt": "ab"}, "3 to 5000"),
        ("create_generation", {"prompt": "a" * 5001}, "3 to 5000"),
        ("create_generation", {**VIDEO, "model": "ray-9"}, "ray-2"),
        ("create_generation", {**VIDEO, "model": "photon-1"}, "ray-2"),
        ("create_generation", {**VIDEO, "resolution": "8k"}, "1080p"),
        ("create_generation", {**VIDEO, "resolution": "360p"}, "540p, 720p"),
        ("create_generation", {**VIDEO, "duration": "10s"}, "5s, 9s"),
        ("create_generation", {**VIDEO, "model": "ray-3.2", "duration": "9s"}, "5s, 10s"),
        ("create_generation", {**VIDEO, "model": "ray-3.2", "aspect_ratio": "9:21"}, "21:9"),
        ("create_generation", {**VIDEO, "aspect_ratio": "3:2"}, "21:9"),
        ("create_generation", {**VIDEO, "video": {"hdr": True}}, "model ray-3.2"),
        ("create_generation", {**VIDEO, "model": "ray-3.2", "concepts": []}, "ray-2"),
        ("create_generation", {**VIDEO, "model": "ray-3.2", "type": "video_edit"}, "needs one"),
        ("create_generation", {**VIDEO, "keyframes": {}}, "frame0 or frame1"),
        ("create_generation", {**VIDEO, "keyframes": {"frame0": {"type": "image"}}}, "needs url"),
        ("create_generation", {**VIDEO, "callback_url": "ftp://a.example"}, "http"),
        ("create_generation", {**VIDEO, "idempotency_key": ""}, "idempotency_key"),
        ("create_generation", {**VIDEO, "sync": True}, "sync"),
        ("generate_image", {**VIDEO, "model": "ray-2"}, "photon-1"),
        ("generate_image", {**VIDEO, "output_format": "png"}, "model uni-1"),
        ("generate_image", {**VIDEO, "model": "uni-1", "format": "png"}, "model photon-1"),
        ("generate_image", {**VIDEO, "image_ref": [{"file_id": "f"}]}, "only url and weight"),
        ("generate_image", {**VIDEO, "image_ref": [{"url": IMAGE_URL}] * 9}, "at most 8"),
        ("generate_image", {**VIDEO, "model": "uni-1", "source": {}}, "exactly one"),
        ("generate_image", {**VIDEO, "model": "uni-1", "type": "layering"}, "needs one"),
        ("upscale_generation", {"generation_id": "a/b", "resolution": "4k"}, "1-128"),
        ("upscale_generation", {"generation_id": "a"}, "resolution"),
        ("add_audio", {"generation_id": "a", "prompt": ""}, "empty"),
        ("delete_generation", {"generation_id": "a/../b"}, "1-128"),
        ("wait_for_generation", {"generation_id": "a", "timeout_seconds": 56}, "55"),
        ("wait_for_generation", {"generation_id": "a", "timeout_seconds": 0}, "1"),
        ("ping", {"loud": True}, "loud"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value)[:40],
)
async def test_a_wrong_argument_costs_nothing_and_is_named(
    client: Client, luma: Luma, tool: str, arguments: dict[str, Any], named: str
) -> None:
    result = await call(client, tool, **arguments)
    assert result.is_error
    assert text_of(result).startswith("Error ")
    assert named in text_of(result)
    assert "[" not in text_of(result), "a path has names alone"
    assert any(hint in text_of(result) for hint in ("Correct", "or use", "Give", "Leave"))
    assert luma.requests == []


@pytest.mark.parametrize(
    "url",
    [
        *("a.png", "ftp://example.com/a", "file:///etc/passwd", "https://", "http://a b/c"),
        *(
            "http://localhost:80/a",
            "http://127.0.0.1/a.png",
            "http://[::1]/",
            "http://10.0.0.1/a",
            "https://u:p@a.example/",
        ),
    ],
)
async def test_a_url_that_luma_cannot_load_costs_nothing(
    client: Client, luma: Luma, url: str
) -> None:
    frames = {"frame0": {"type": "image", "url": url}}
    video = await call(client, "create_generation", **VIDEO, keyframes=frames)
    image = await call(client, "generate_image", **VIDEO, image_ref=[{"url": url}])
    for result in (video, image):
        assert result.is_error
        assert "public http(s) URL" in text_of(result)
    assert luma.requests == []


async def test_upscale_and_audio_answer_the_new_id(client: Client, luma: Luma) -> None:
    parent = luma.create()
    luma.advance(60)
    upscaled = await call(client, "upscale_generation", generation_id=parent, resolution="1080p")
    sounding = await call(
        client, "add_audio", generation_id=parent, prompt="waves", negative_prompt="music"
    )
    for result, operation in ((upscaled, "upscale_video"), (sounding, "add_audio")):
        created = made(result)
        assert created["id"] != parent
        assert created["parent_id"] == parent
        assert created["operation"] == operation
        assert text_of(result).startswith(f"Generation ID: {created['id']}\nState: queued\n")
    assert posted(luma) == [
        {"generation_type": "upscale_video", "resolution": "1080p"},
        {"generation_type": "add_audio", "prompt": "waves", "negative_prompt": "music"},
    ]


async def test_what_cannot_be_upscaled_costs_nothing(client: Client, luma: Luma) -> None:
    image, ray_3 = luma.create("image"), luma.create("video", upstream="agents")
    luma.advance(60)
    running = luma.create()
    for parent, reason, hint in (
        (running, "still queued", "wait_for_generation"),
        (image, "an image", "id of a video"),
        (ray_3, "Agents API", "ray-2"),
        ("nobody", "unknown", "Check the id"),
    ):
        result = await call(client, "upscale_generation", generation_id=parent, resolution="4k")
        assert text_of(result).startswith(f"Error upscaling generation {parent}: ")
        assert reason in text_of(result)
        assert hint in text_of(result)
    assert posted(luma) == []


async def test_a_repeated_key_answers_the_first_generation(client: Client, luma: Luma) -> None:
    first = made(await call(client, "create_generation", **VIDEO, idempotency_key="k"))
    again = await call(client, "create_generation", **VIDEO, idempotency_key="k")
    assert made(again)["id"] == first["id"]
    assert "nothing was charged again" in text_of(again)
    other = await call(client, "create_generation", prompt="a sea", idempotency_key="k")
    assert other.is_error
    assert "Send a new key" in text_of(other)
    assert len(posted(luma)) == 1


async def test_keys_are_per_token(parts: Parts, luma: Luma) -> None:
    ids = set()
    for digest in ("one", "two"):
        async with Client(make_server(service_of(parts, Caller(digest)))) as client:
            result = await call(client, "create_generation", **VIDEO, idempotency_key="k")
            ids.add(made(result)["id"])
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (Fault(status=400, body=b'{"detail": "400: No."}'), "400: No. Nothing was charged."),
        (
            Fault(status=422, body=b'{"detail": [{"loc": ["body", "prompt"], "msg": "Bad"}]}'),
            "body.prompt: Bad",
        ),
        (Fault(status=401), "LUMAAI_API_KEY"),
        (Fault(status=402), "add credits"),
        (Fault(status=429, headers={"Retry-After": "7"}), "Wait 7 s, then repeat"),
        (Fault(status=500), "check with list_generations before you repeat"),
        (Fault(drop=True, processed=True), "Do not create it again."),
        (Fault(status=201, body=b"<html>", processed=True), "Do not create it again."),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_create_that_fails_is_an_error_that_says_what_to_do(
    client: Client, luma: Luma, fault: Fault, hint: str
) -> None:
    luma.fault(fault)
    result = await call(client, "create_generation", **VIDEO)
    assert result.is_error
    text = text_of(result)
    assert text.startswith("Error creating generation: ")
    assert hint in text
    assert len(text) < 800
    assert len(posted(luma)) == 1, "a create is never repeated"


async def test_a_create_that_nobody_received_can_be_repeated(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    unreachable = settings.model_copy(update={"dream_machine_url": "http://127.0.0.1:1"})
    async with (
        open_parts(unreachable, clock) as parts,
        Client(make_server(service_of(parts))) as client,
    ):
        text = text_of(await call(client, "create_generation", **VIDEO))
    assert "Nothing was sent to Luma" in text
    assert "repeat this call" in text


async def test_without_a_key_the_error_names_the_setting(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    keyless = settings.model_copy(update={"luma_api_key": None, "luma_agents_api_key": None})
    asked = {**WRITES, "ping": {}, "get_credits": {}, "get_camera_motions": {}}
    async with (
        open_parts(keyless, clock) as parts,
        Client(make_server(service_of(parts))) as client,
    ):
        for tool, arguments in asked.items():
            assert "LUMAAI_API_KEY" in text_of(await call(client, tool, **arguments)), tool
        agents = await call(client, "create_generation", **VIDEO, model="ray-3.2")
        assert "LUMA_AGENTS_API_KEY" in text_of(agents)
    assert luma.requests == []


async def test_who_may_only_read_neither_sees_nor_uses_what_writes(
    parts: Parts, luma: Luma
) -> None:
    reader = service_of(parts, Caller(may_write=False))
    async with Client(make_server(reader)) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        for name, arguments in WRITES.items():
            result = await call(client, name, **arguments)
            assert result.is_error
            assert "TRACKER_MCP_READ_ONLY" in text_of(result)
    async with Client(make_server(service_of(parts))) as client:
        tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} - listed == WRITES.keys()
    for tool in tools:
        assert tool.annotations
        assert tool.annotations.read_only_hint == (tool.name in listed)
        assert tool.annotations.open_world_hint
        assert tool.annotations.destructive_hint in (None, tool.name == "delete_generation")
    assert luma.requests == []


async def test_a_deleted_generation_stays_known(client: Client, luma: Luma) -> None:
    created = made(await call(client, "create_generation", **VIDEO))
    deleted = await call(client, "delete_generation", generation_id=created["id"])
    assert made(deleted) == {"id": created["id"], "deleted": True}
    known = await call(client, "get_generation", generation_id=created["id"])
    assert made(known)["gone_at"] in text_of(known)
    assert "Gone: Luma no longer has it" in text_of(known)
    again = await call(client, "delete_generation", generation_id=created["id"])
    assert text_of(again) == f"Generation {created['id']} had been deleted before"
    unknown = await call(client, "delete_generation", generation_id="nobody")
    assert "Generation not found. Check the id; list_generations" in text_of(unknown)
    other = made(await call(client, "create_generation", **VIDEO, model="ray-3.2"))
    refused = await call(client, "delete_generation", generation_id=other["id"])
    assert "cannot delete" in text_of(refused)


async def test_the_account_is_told_as_agents_know_it(client: Client, luma: Luma) -> None:
    assert text_of(await call(client, "ping")) == "Luma API is available and responding"
    credits_ = await call(client, "get_credits")
    assert text_of(credits_).startswith("Credit Information:\nAvailable Credits: 250000.0 ")
    assert made(credits_) == {"credit_balance": 250000.0, "credit_balance_usd": 2500.0}
    motions = await call(client, "get_camera_motions")
    assert "orbit_left" in made(motions)["camera_motions"]
    assert text_of(motions).startswith("Available camera motions:\ntruck_left, ")


@pytest.mark.parametrize("tool", ["ping", "get_credits", "get_camera_motions"])
@pytest.mark.parametrize(
    "fault",
    [Fault(status=401), Fault(status=503), Fault(drop=True), Fault(status=429)],
    ids=lambda fault: str(fault)[:18],
)
async def test_trouble_with_the_account_is_an_error(
    client: Client, luma: Luma, tool: str, fault: Fault
) -> None:
    luma.fault(fault)
    result = await call(client, tool)
    assert result.is_error
    assert text_of(result).startswith("Error ")
    assert "dream_machine" in text_of(result)


async def test_an_odd_answer_about_the_account_is_an_error(client: Client, luma: Luma) -> None:
    for tool in ("get_credits", "get_camera_motions"):
        for body in (b"", b"{}", b"<html/>", b'"x"'):
            luma.fault(Fault(body=body))
            result = await call(client, tool)
            assert result.is_error
            assert "dream_machine answered no " in text_of(result)


async def test_all_tools_together_are_short(client: Client) -> None:
    listed = (await client.list_tools()).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert len(json.dumps(listed, separators=(",", ":"))) < 12_000
    for tool in listed["tools"]:
        assert len(tool["description"]) <= 600, tool["name"]
