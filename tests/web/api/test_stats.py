"""The route of statistics, on the whole application in process."""

import httpx
import pytest

from service.domain.counting import MICRO
from service.simulator import Luma, Plan
from tests.conftest import PAYLOADS
from tests.web.api.test_generations import http, told

pytestmark = pytest.mark.either_database
__all__ = ["http"]

COMPLETED = {
    **PAYLOADS["CONSTRUCTED_video_completed"],
    "request": {"generation_type": "video", "duration": "5s", "resolution": "720p"},
}


async def test_statistics_are_of_all_generations_in_the_shape_of_the_contract(
    http: httpx.AsyncClient, luma: Luma
) -> None:
    for number in range(3):
        await told(http, {**COMPLETED, "id": f"ended-{number}"})
    failed = {"id": "failed", "state": "failed", "failure_reason": "moderated", "model": "ray-2"}
    await told(http, failed)
    made = luma.create(plan=Plan(0, 0))
    assert (await http.get(f"/v1/generations/{made}?fresh=true")).status_code == 200

    answer = (await http.get("/v1/stats?by=model")).json()

    totals = answer["totals"]
    assert totals["generations"] == 5
    assert totals["by_state"] == {"completed": 4, "failed": 1}
    assert totals["cost_usd_estimate"] > 0
    assert answer["told_first_by"] == {"callback": 4, "fetch": 1}
    assert answer["failures"] == [{"reason": "moderated", "count": 1}]
    assert answer["time_to_finish"]["p50"] is not None
    assert answer["series"][0]["key"] == "ray-2"
    assert sum(item["generations"] for item in answer["series"]) == 5
    assert answer["complete"] in (True, False)
    by_day = (await http.get("/v1/stats?by=day&since=-3d")).json()
    assert [len(item["key"]) for item in by_day["series"]] == [10] * 4
    assert (await http.get("/v1/stats?since=2999-01-01")).json()["totals"]["generations"] == 0
    assert MICRO == 10**6


@pytest.mark.parametrize(
    ("query", "named"), [("since=soon", "since"), ("by=week", "by"), ("unknown=1", "unknown")]
)
async def test_what_makes_no_sense_is_422(http: httpx.AsyncClient, query: str, named: str) -> None:
    answer = await http.get(f"/v1/stats?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][-1] == named
