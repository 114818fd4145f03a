"""The routes of the backfill, on the whole application in process."""

import asyncio
from time import monotonic
from typing import Any

import httpx
import pytest

from service.config import Settings
from service.simulator import Fault, Luma, Plan
from tests.web.api.test_generations import client_of, http

pytestmark = pytest.mark.either_database
__all__ = ["http"]

KEYS = {
    *("upstream", "state", "since", "everything", "pages", "seen", "new", "reached", "failure"),
    *("error", "started_at", "finished_at"),
}


async def ended(http: httpx.AsyncClient) -> dict[str, Any]:
    """The state of the backfill when it has ended."""
    deadline = monotonic() + 15
    while (state := (await http.get("/v1/backfill")).json())["state"] == "running":
        assert monotonic() < deadline
        await asyncio.sleep(0.01)
    shown: dict[str, Any] = state
    return shown


async def test_a_backfill_is_started_and_followed(http: httpx.AsyncClient, luma: Luma) -> None:
    for _ in range(120):
        luma.create(plan=Plan(0, 0))
    assert (await http.get("/v1/backfill")).json()["state"] is None

    answer = await http.post("/v1/backfill", json={})

    assert answer.status_code == 202
    started = answer.json()
    assert started.keys() == KEYS
    assert (started["state"], started["upstream"]) == ("running", "dream_machine")
    state = await ended(http)
    assert (state["state"], state["seen"], state["new"]) == ("done", 120, 120)
    assert state["error"] is None
    assert state["finished_at"]
    assert len((await http.get("/v1/generations?limit=200")).json()["items"]) == 120


async def test_a_second_post_answers_the_running_ones_state(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    luma.fault(Fault(delay=0.3))
    first = (await http.post("/v1/backfill", json={"since": "-1d"})).json()
    second = await http.post("/v1/backfill", json={"upstream": "agents"})
    assert second.status_code == 202
    assert second.json() == first
    await ended(http)


async def test_it_can_be_started_without_a_body(http: httpx.AsyncClient) -> None:
    assert (await http.post("/v1/backfill")).status_code == 202
    assert (await ended(http))["state"] == "done"


async def test_it_reads_everything_where_it_is_told_to(http: httpx.AsyncClient) -> None:
    begun = await http.post("/v1/backfill", json={"everything": True})
    assert (begun.json()["since"], begun.json()["everything"]) == (None, True)
    assert (await ended(http))["everything"] is True


async def test_a_failure_says_why(http: httpx.AsyncClient, luma: Luma) -> None:
    luma.fault(Fault(status=401))
    await http.post("/v1/backfill", json={"upstream": "dream_machine"})
    state = await ended(http)
    assert state["state"] == "failed"
    assert "LUMAAI_API_KEY" in state["error"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"upstream": "sora"}, "upstream"),
        ({"upstream": 5}, "upstream"),
        ({"since": "soon"}, "since"),
        ({"since": 5}, "since"),
        ({"sinc": "-1d"}, "sinc"),
        ([], "body"),
        ("all", "body"),
    ],
    ids=str,
)
async def test_an_unknown_upstream_key_or_time_is_invalid(
    http: httpx.AsyncClient, body: object, where: str
) -> None:
    answer = await http.post("/v1/backfill", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert where in str(answer.json()["errors"][0]["loc"])
    assert (await http.get("/v1/backfill")).json()["state"] is None, "nothing was started"


async def test_an_upstream_without_a_key_is_invalid(settings: Settings) -> None:
    async with client_of(settings, luma_agents_api_key=None) as http:
        answer = await http.post("/v1/backfill", json={"upstream": "agents"})
    assert answer.status_code == 422
    assert "LUMA_AGENTS_API_KEY" in answer.json()["hint"]


async def test_what_belongs_in_the_body_is_said_to_belong_there(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/backfill?upstream=agents&sinc=-1d")
    told = [error["msg"] for error in answer.json()["errors"]]
    assert told == [
        "Unknown parameter. Send `upstream` in the body.",
        "Unknown parameter. Did you mean `since`, in the body?",
    ]
    [error] = (await http.post("/v1/backfill", json={"sinc": "-1d"})).json()["errors"]
    assert error["msg"] == "Unknown parameter. Did you mean `since`?"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_parameter_is_invalid(http: httpx.AsyncClient, method: str) -> None:
    assert (await http.request(method, "/v1/backfill?since=-1d")).status_code == 422
