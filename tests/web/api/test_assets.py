"""The route of assets where nothing is kept, on the whole application in process."""

import json
from collections.abc import Iterator

import pytest

from service.config import Settings
from service.simulator import Fault, Luma, ManualClock, Plan, Simulator
from tests.web.api.test_generations import client_of

pytestmark = pytest.mark.either_database

RENEWED = "https://storage.cdn-luma.com/renewed.mp4"


@pytest.fixture
def luma() -> Iterator[Luma]:
    with Simulator(clock=ManualClock(), serve_assets=True).running() as running:
        yield running


async def test_the_redirect_of_a_dead_url_leads_to_its_successor(
    settings: Settings, luma: Luma
) -> None:
    made = luma.create(plan=Plan(0, 0))
    body = luma.body(made)
    path = f"/v1/generations/{made}/assets/video"
    async with client_of(settings, webhook_allow="127.0.0.0/8", upstream_timeout=10) as http:
        living = await http.get(path)
        assert (living.status_code, living.headers["location"]) == (307, body["assets"]["video"])
        assert (await http.get(f"/v1/generations/{made}/assets/7")).status_code == 404
    luma.fault(Fault(status=403, path="/assets/", times=None))
    renewed = json.dumps(body | {"assets": {"video": RENEWED}}).encode()
    luma.fault(Fault(body=renewed, path="/generations/"))
    async with client_of(settings, webhook_allow="127.0.0.0/8", upstream_timeout=10) as http:
        dead = await http.get(path)
        assert (dead.status_code, dead.headers["location"]) == (307, RENEWED)
        shown = (await http.get(f"/v1/generations/{made}")).json()
        assert shown["assets"]["video"] == RENEWED
