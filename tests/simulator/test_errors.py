"""Refusals have Luma's wording, and the SDK raises its own exceptions for them."""

from collections.abc import Iterator
from typing import Any

import httpx
import luma_agents
import lumaai
import pytest

from service.simulator import Luma, ManualClock, Simulator


@pytest.fixture
def locked() -> Iterator[Luma]:
    """A simulator that accepts one key only."""
    with Simulator(clock=ManualClock(), api_keys={"luma-key"}).running() as luma:
        yield luma


def test_dream_machine_refuses_an_unknown_key(locked: Luma) -> None:
    with (
        lumaai.LumaAI(auth_token="other", base_url=locked.dream_machine_url) as sdk,
        pytest.raises(lumaai.AuthenticationError) as error,
    ):
        sdk.ping.check()
    assert error.value.body == {"detail": "Invalid API key is provided"}


def test_agents_refuses_an_unknown_key(locked: Luma) -> None:
    with (
        luma_agents.Luma(auth_token="other", base_url=locked.agents_url) as sdk,
        pytest.raises(luma_agents.AuthenticationError) as error,
    ):
        sdk.generations.create(prompt="a lake")
    assert error.value.body == {"detail": "Invalid API key"}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic luma-key"])
def test_a_missing_key_is_401(header: str | None, locked: Luma) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.get(f"{locked.dream_machine_url}/credits", headers=headers, trust_env=False)
    assert answer.status_code == 401


def test_the_right_key_is_let_in(locked: Luma) -> None:
    with lumaai.LumaAI(auth_token="luma-key", base_url=locked.dream_machine_url) as sdk:
        assert sdk.ping.check().message == "pong"


@pytest.mark.parametrize("unknown", ["719d000e-2c0d-4348-ab8c-17fd58931691", "id"])
def test_an_unknown_id_is_404_on_every_route(unknown: str, sdk: lumaai.LumaAI) -> None:
    routes: list[Any] = [
        sdk.generations.get,
        sdk.generations.delete,
        sdk.generations.upscale,
        sdk.generations.audio,
    ]
    for route in routes:
        with pytest.raises(lumaai.NotFoundError) as error:
            route(unknown)
        assert error.value.body == {"detail": "Generation not found"}


def test_a_missing_field_is_422_with_fastapis_list(luma: Luma, sdk: lumaai.LumaAI) -> None:
    with pytest.raises(lumaai.UnprocessableEntityError) as error:
        sdk.post("/generations/video", body={"prompt": "a lake"}, cast_to=object)
    assert error.value.body == {
        "detail": [
            {
                "type": "missing",
                "loc": ["body", "model"],
                "msg": "Field required",
                "input": {"prompt": "a lake"},
            }
        ]
    }
    assert luma.count("POST") == 1


@pytest.mark.parametrize(
    ("prompt", "detail"),
    [
        ("ab", "Prompt is too short, minimum length is 3 characters"),
        ("a" * 5001, "Prompt is too long, maximum length is 5000 characters"),
    ],
)
def test_a_prompt_of_the_wrong_length_is_400(prompt: str, detail: str, sdk: lumaai.LumaAI) -> None:
    with pytest.raises(lumaai.BadRequestError) as error:
        sdk.generations.create(model="ray-2", prompt=prompt)
    assert error.value.body == {"detail": detail}


def test_each_api_knows_only_its_own_generations(
    luma: Luma, sdk: lumaai.LumaAI, agents_sdk: luma_agents.Luma
) -> None:
    with pytest.raises(lumaai.NotFoundError):
        sdk.generations.get(luma.create("image", upstream="agents"))
    with pytest.raises(luma_agents.NotFoundError):
        agents_sdk.generations.get(luma.create("image"))


def test_any_id_is_known_when_asked_for() -> None:
    """Luma's own SDK tests use the id `id` each time."""
    simulator = Simulator(accept_any_id=True, deliver_callbacks=False)
    with (
        simulator.running() as luma,
        lumaai.LumaAI(auth_token="key", base_url=luma.dream_machine_url) as sdk,
        luma_agents.Luma(auth_token="key", base_url=luma.agents_url) as agents_sdk,
    ):
        assert sdk.generations.get("id").id == "id"
        sdk.generations.delete("id")
        assert sdk.generations.upscale("id").id != "id"
        assert agents_sdk.generations.get("other").id == "other"
        agents_sdk.files.delete("file")
        assert agents_sdk.files.complete("file").state == "pending"
        assert agents_sdk.files.list(cursor="cursor").has_more is False
