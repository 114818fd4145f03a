"""The Agents API as the `luma_agents` SDK sees it."""

import httpx
import luma_agents
import pytest

from service.simulator import Luma, Plan


def test_an_image_is_queued_processed_and_completed(
    luma: Luma, agents_sdk: luma_agents.Luma
) -> None:
    created = agents_sdk.generations.create(prompt="a lake")
    assert (created.state, created.model, created.output) == ("queued", "uni-1", [])
    luma.advance(0.5)
    assert agents_sdk.generations.get(created.id).state == "processing"
    luma.advance(2.0)
    done = agents_sdk.generations.get(created.id)
    assert done.state == "completed"
    assert done.output is not None
    assert [each.type for each in done.output] == ["image"]
    assert "/output.png?" in done.output[0].url


def test_a_video_is_made_by_the_video_model(luma: Luma, agents_sdk: luma_agents.Luma) -> None:
    created = agents_sdk.generations.create(prompt="a lake", type="video")
    luma.advance(2.5)
    done = agents_sdk.generations.get(created.id)
    assert done.model == "ray-3.2"
    assert done.output is not None
    assert "/output.mp4?" in done.output[0].url


def test_a_layering_has_one_output_for_each_layer(luma: Luma, agents_sdk: luma_agents.Luma) -> None:
    made = luma.create("layering", upstream="agents")
    luma.advance(2.5)
    output = agents_sdk.generations.get(made).output
    assert output is not None
    assert [each.layer.label for each in output if each.layer] == ["subject", "background"]


def test_a_failure_has_a_code_and_a_reason(luma: Luma, agents_sdk: luma_agents.Luma) -> None:
    plan = Plan(outcome="failed", failure_reason="IP", failure_code="content_moderated")
    told = luma.create("image", upstream="agents", plan=plan)
    usual = luma.create("video", upstream="agents", plan=Plan(outcome="failed"))
    luma.advance(2.5)
    failed = agents_sdk.generations.get(told)
    assert (failed.failure_code, failed.failure_reason) == ("content_moderated", "IP")
    assert agents_sdk.generations.get(usual).failure_code == "generation_failed"


def test_urls_last_an_hour_and_are_minted_at_every_get(
    luma: Luma, agents_sdk: luma_agents.Luma
) -> None:
    made = luma.create("image", upstream="agents")
    luma.advance(2.5)
    first = httpx.URL(luma.body(made)["output"][0]["url"])
    luma.advance(60)
    output = agents_sdk.generations.get(made).output
    assert output is not None
    second = httpx.URL(output[0].url)
    assert first.params["X-Amz-Date"] == "20260530T123458Z"
    assert second.params["X-Amz-Date"] == "20260530T123558Z"
    assert second.params["X-Amz-Expires"] == "3600"
    assert first.params["X-Amz-Signature"] != second.params["X-Amz-Signature"]


def test_the_body_has_the_documented_keys_in_their_order(luma: Luma) -> None:
    made = luma.create("image", upstream="agents", id="d290f1ee-6c54-4b01-90e6-d701748f0851")
    assert list(luma.body(made).items()) == [
        ("id", "d290f1ee-6c54-4b01-90e6-d701748f0851"),
        ("type", "image"),
        ("state", "queued"),
        ("model", "uni-1"),
        ("created_at", "2026-05-30T12:34:56Z"),
        ("output", []),
        ("failure_reason", None),
        ("failure_code", None),
    ]


def test_every_answer_has_its_request_id_and_version(luma: Luma) -> None:
    headers = {"Authorization": "Bearer key", "X-Request-Id": "mine"}
    found = httpx.get(
        f"{luma.agents_url}/generations/{luma.create('image', upstream='agents')}",
        headers=headers,
        trust_env=False,
    )
    refused = httpx.get(f"{luma.agents_url}/generations/x", trust_env=False)
    assert found.headers["X-Request-Id"] == "mine"
    assert refused.status_code == 401
    assert refused.headers["X-Request-Id"]
    assert found.headers["X-API-Version"] == refused.headers["X-API-Version"] == "2026-04-01"


def test_a_refused_body_is_told_in_one_string(agents_sdk: luma_agents.Luma) -> None:
    with pytest.raises(luma_agents.UnprocessableEntityError) as error:
        agents_sdk.generations.create(prompt="")
    assert error.value.body == {"detail": "body.prompt: String should have at least 1 character"}


def test_an_unknown_id_is_404(agents_sdk: luma_agents.Luma) -> None:
    with pytest.raises(luma_agents.NotFoundError) as error:
        agents_sdk.generations.get("not-a-uuid")
    assert error.value.body == {"detail": "Generation not found"}


def test_there_is_no_list_and_no_delete(luma: Luma) -> None:
    made = luma.create("image", upstream="agents")
    with httpx.Client(headers={"Authorization": "Bearer key"}, trust_env=False) as client:
        assert client.get(f"{luma.agents_url}/generations").status_code == 405
        assert client.delete(f"{luma.agents_url}/generations/{made}").status_code == 405
