"""Terminal truth is verified: a callback is a claim until Luma itself has said the same."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.simulator import Luma, Plan
from tests.acceptance.conftest import Service
from tests.acceptance.storm import Storm, life_of
from tests.waiting import until

pytestmark = pytest.mark.either_database

FINISHED = Plan(0, 0)


def shown(service: Service, generation_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{service.url}/v1/generations/{generation_id}", timeout=10)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def call_back(service: Service, generation_id: str, state: str) -> str:
    [body] = life_of(generation_id, state)
    return str(httpx.post(service.callback_url, content=body).json()["outcome"])


def asked(luma: Luma, generation_id: str) -> int:
    return luma.count("GET", f"/generations/{generation_id}")


def test_a_claim_is_confirmed_by_one_request_after_the_answer(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    service = start_service(LUMA_AGENTS_API_KEY="")
    generation_id = luma.create(plan=FINISHED)
    url = service.callback_url
    [body] = life_of(generation_id, "completed")

    outcomes = [httpx.post(url, content=body).json()["outcome"]]
    outcomes += [httpx.post(url, content=body).json()["outcome"] for _ in range(10)]
    until(lambda: shown(service, generation_id)["verified"])

    after = shown(service, generation_id)
    assert outcomes[0] == "applied"
    assert (after["rev"], after["source"], after["state"]) == (2, "fetch", "completed")
    assert after["assets"]["video"] == luma.body(generation_id)["assets"]["video"]
    assert asked(luma, generation_id) == 1


def test_what_is_confirmed_is_immune(start_service: Callable[..., Service], luma: Luma) -> None:
    service = start_service(LUMA_AGENTS_API_KEY="")
    generation_id = luma.create(plan=FINISHED)
    call_back(service, generation_id, "completed")
    until(lambda: shown(service, generation_id)["verified"])
    before = httpx.get(f"{service.url}/v1/generations/{generation_id}")

    forged = {**json.loads(life_of(generation_id, "completed")[0]), "assets": {"video": "evil"}}
    told = httpx.post(service.callback_url, content=json.dumps(forged))
    outcomes = [call_back(service, generation_id, s) for s in ("failed", "dreaming", "queued")]

    after = httpx.get(f"{service.url}/v1/generations/{generation_id}")
    assert outcomes == ["stale"] * 3
    assert told.json() == {"outcome": "unchanged"}
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    assert asked(luma, generation_id) == 1


@pytest.mark.thorough
def test_a_storm_of_forged_callbacks_costs_no_more_than_the_budget_and_changes_nothing_true(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    """With a token that leaked; meanwhile people are answered."""
    rate = 20
    service = start_service(LUMA_AGENTS_API_KEY="", TRACKER_DREAM_MACHINE_RATE=f"{rate}/second")
    true = [luma.create(plan=FINISHED) for _ in range(5)]
    for generation_id in true:
        call_back(service, generation_id, "completed")
    until(lambda: all(shown(service, generation_id)["verified"] for generation_id in true))
    before = [shown(service, generation_id) for generation_id in true]
    spent_before = luma.count()

    begun = time.monotonic()
    forged = [body for n in range(300) for body in life_of(f"forged-{n}", "completed")]
    forged += [body for generation_id in true for body in life_of(generation_id, "failed")]
    storm = Storm(service.callback_url, connections=32)
    asyncio.run(storm.blow(forged))
    assert set(storm.answered.values()) == {200}
    asked_by_people = 0
    while time.monotonic() - begun < 3:
        unknown = luma.create(plan=FINISHED)
        assert shown(service, unknown)["state"] == "completed"
        asked_by_people += 1
        until(lambda: luma.count() > spent_before)
        assert luma.count() - spent_before <= rate * (time.monotonic() - begun + 1) + 1

    assert asked_by_people >= 3
    assert [shown(service, generation_id) for generation_id in true] == before
    assert service.rows(
        "SELECT count(*) FROM generations WHERE id LIKE 'forged%' AND verified"
    ) == [(0,)]
