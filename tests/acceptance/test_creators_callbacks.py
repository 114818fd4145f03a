"""A creator's own `callback_url`: Luma never sees it, and the tracker calls it with Luma's body."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from luma_agents import Luma as LumaAgents
from lumaai import LumaAI

from service.simulator import Fault, Luma, ManualClock, Plan, Simulator
from tests.acceptance.conftest import Service, environment_for
from tests.endpoints import SECRETS, Answer, EndpointServer, serving_endpoints
from tests.waiting import until

pytestmark = pytest.mark.either_database

VIDEO = {"prompt": "a lake at sunset", "model": "ray-2"}


@pytest.fixture(scope="module")
def program() -> Iterator[EndpointServer]:
    """What creators run: it receives callbacks."""
    with serving_endpoints() as serving:
        yield serving


@pytest.fixture(scope="module")
def luma() -> Iterator[Luma]:
    """Luma's stand-in, whose clock the tests move."""
    usual, at_once = Plan(queued=1, dreaming=2), Plan(queued=0, dreaming=2)
    plans = {"at once": at_once}
    with Simulator(clock=ManualClock(), default_plan=usual, plans=plans).running() as running:
        yield running


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, luma: Luma) -> Iterator[Service]:
    """A service that Luma can call back, and that may call this machine."""
    folder: Path = tmp_path_factory.mktemp("creators")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    given = {
        "TRACKER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TRACKER_WEBHOOK_ALLOW": "127.0.0.0/8",
        "TRACKER_WEBHOOK_SECRET": SECRETS[0],
        "TRACKER_RECONCILE": "false",
    }
    service = Service(environment_for(folder, luma, **given), folder)
    service.start("--port", str(port))
    yield service
    service.stop()


def create(tracker: Service, url: str, **fields: str) -> httpx.Response:
    path = f"{tracker.url}/dream-machine/v1/generations/video"
    return httpx.post(path, json={**VIDEO, "callback_url": url, **fields}, timeout=30)


def test_each_change_of_state_reaches_the_creator_in_order_with_lumas_body(
    tracker: Service, luma: Luma, program: EndpointServer
) -> None:
    own = program.url("/dream-machine?job=1")
    sdk = LumaAI(base_url=f"{tracker.url}/dream-machine/v1", auth_token="any", max_retries=0)

    made = sdk.generations.create(**VIDEO, callback_url=own)  # type: ignore[arg-type]
    luma.advance(2)
    until(lambda: "dreaming" in program.states("/dream-machine?job=1"))
    luma.advance(2)
    until(lambda: "completed" in program.states("/dream-machine?job=1"))

    received = program.received("/dream-machine?job=1")
    assert [each.body["state"] for each in received] == ["dreaming", "completed"]
    assert len({each.id for each in received}) == 2
    expected: dict[str, Any] = luma.body(str(made.id))
    assert own not in str(expected), "Luma was given the creator's URL"
    expected["request"]["callback_url"] = own
    assert [each.verify() for each in received][-1] == expected


def test_a_slow_url_delays_no_other_on_the_same_host(
    tracker: Service, luma: Luma, program: EndpointServer
) -> None:
    program.usual["/slow"] = Answer(held=True)
    for _ in range(12):
        assert create(tracker, program.url("/slow")).status_code == 201
    assert create(tracker, program.url("/quick")).status_code == 201
    luma.advance(4)
    until(lambda: "completed" in program.states("/quick"), seconds=4)
    assert len(program.received("/slow")) < 12, "it takes what comes later first"
    program.usual.clear()
    program.released.set()


def test_what_luma_reports_before_its_answer_reaches_the_creator(
    tracker: Service, luma: Luma, program: EndpointServer
) -> None:
    """Its callbacks come while the create is still under way."""
    luma.fault(Fault(method="POST", answer_delay=0.0))
    made = create(tracker, program.url("/early"), prompt="at once")

    until(lambda: "dreaming" in program.states("/early"))
    luma.advance(3)
    until(lambda: "completed" in program.states("/early"))
    assert program.states("/early") == ["dreaming", "completed"]
    assert made.json()["request"]["callback_url"] == program.url("/early")


def test_the_agents_api_gets_the_callbacks_that_it_lacks(
    tracker: Service, luma: Luma, program: EndpointServer
) -> None:
    sdk = LumaAgents(base_url=f"{tracker.url}/agents/v1", auth_token="any", max_retries=0)
    header = {"X-Callback-URL": program.url("/agents")}

    made = sdk.generations.create(prompt="a poster", model="uni-1", extra_headers=header)
    luma.advance(3)
    httpx.get(f"{tracker.url}/v1/generations/{made.id}?fresh=true", timeout=30)

    until(lambda: "completed" in program.states("/agents"))
    [completed] = [
        each for each in program.received("/agents") if each.body["state"] == "completed"
    ]
    assert completed.verify()["id"] == made.id
    assert completed.body["output"], "the body is Luma's own"
    [asked] = [seen for seen in luma.requests if seen.path == "/agents/v1/generations"]
    assert program.url("/agents") not in str((asked.headers, asked.body))


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/hook", "ftp://program.example/hook", "http://u:p@a.example/", "x"],
)
def test_a_url_that_can_never_be_called_is_422_and_costs_nothing(
    tracker: Service, luma: Luma, url: str
) -> None:
    before = luma.count("POST")
    answer = create(tracker, url)
    assert answer.status_code == 422
    assert "callback_url" in answer.json()["detail"]
    assert luma.count("POST") == before
