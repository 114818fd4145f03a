"""Callback in, one shape out: the main job, end to end."""

import httpx
from lumaai import LumaAI

from service.simulator import Luma
from tests.acceptance.conftest import Service
from tests.waiting import until


def test_a_generation_created_with_our_callback_url_is_known_without_asking_luma(
    service: Service, http: httpx.Client, luma: Luma
) -> None:
    with LumaAI(base_url=luma.dream_machine_url, auth_token="luma-key", max_retries=0) as sdk:
        made = sdk.generations.create(
            model="ray-2", prompt="a lake at sunset", callback_url=service.callback_url
        )
    luma.advance(60)
    path = f"/v1/generations/{made.id}"
    until(lambda: http.get(path).json()["verified"])  # the one question that confirms it
    asked = luma.count("GET")

    answers = [http.get(path) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].json()["state"] == "completed"
    assert answers[0].json()["assets"]["video"] == luma.body(str(made.id))["assets"]["video"]
    assert luma.count("GET") == asked == 1
