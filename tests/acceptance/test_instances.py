"""Several instances on one PostgreSQL are one service: nothing lost, doubled, or out of date."""

import asyncio
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import KEYLESS, Service, environment_for, start_together
from tests.acceptance.storm import Storm, life_of
from tests.databases import execute
from tests.postgres import Server, in_memory, serving
from tests.relay import relaying
from tests.waiting import until

pytestmark = pytest.mark.postgres

Start = Callable[..., Service]


def blow(services: list[Service], bodies: list[bytes]) -> list[Storm]:
    """Send every body to every instance, each in an order of its own, at the same time."""

    async def all_at_once() -> list[Storm]:
        storms = [Storm(service.callback_url, connections=16) for service in services]
        orders = [random.sample(bodies, len(bodies)) for _ in services]
        await asyncio.gather(
            *(storm.blow(order) for storm, order in zip(storms, orders, strict=True))
        )
        return storms

    return asyncio.run(all_at_once())


def lives(number: int) -> list[bytes]:
    """The callbacks of so many generations."""
    ids = [str(uuid.uuid4()) for _ in range(number)]
    return [body for id_ in ids for body in life_of(id_, "queued", "dreaming", "completed")]


@pytest.mark.parametrize("instances", [2, pytest.param(4, marks=pytest.mark.thorough)])
def test_a_storm_of_duplicates_over_many_instances_is_folded_once(
    start_service: Start, instances: int
) -> None:
    services = [start_service(**KEYLESS) for _ in range(instances)]
    bodies = lives(150)

    storms = blow(services, bodies)

    one = services[0]
    for storm in storms:
        assert len(storm.answered) == len(bodies)
        assert set(storm.answered.values()) == {200}
    kept = one.rows("SELECT count(*), sum(duplicates), count(handled_at) FROM deliveries")
    assert kept == [(len(bodies), len(bodies) * (instances - 1), len(bodies))]
    assert one.rows("SELECT state, count(*) FROM generations GROUP BY 1") == [("completed", 150)]
    assert one.rows("SELECT 1 FROM events GROUP BY generation_id, rev HAVING count(*) > 1") == []
    revs = one.rows(
        "SELECT count(*) FROM generations g WHERE rev <> "
        "(SELECT count(*) FROM events e WHERE e.generation_id = g.id)"
    )
    assert revs == [(0,)], "every change is in the history, and none twice"
    for service in services:
        assert "database_failed" not in service.said


@pytest.mark.thorough
def test_ten_instances_that_start_together_migrate_once(tmp_path: Path, luma: Luma) -> None:
    folders = [tmp_path / str(n) for n in range(10)]
    environment = environment_for(tmp_path, luma, **KEYLESS)
    services = [Service(environment, folder) for folder in folders]
    for folder in folders:
        folder.mkdir()
    start_together(services)
    assert sum(service.said.count("database_created") for service in services) == 1


def wait_at(service: Service, generation_id: str, seconds: int = 20) -> httpx.Response:
    url = f"{service.url}/v1/generations/{generation_id}?wait={seconds}"
    return httpx.get(url, timeout=seconds + 10)


def test_who_waits_at_one_instance_hears_what_another_is_told(start_service: Start) -> None:
    told, asked = start_service(**KEYLESS), start_service(**KEYLESS)
    ids = [str(uuid.uuid4()) for _ in range(20)]
    for generation_id in ids:
        [dreaming] = life_of(generation_id, "dreaming")
        assert httpx.post(told.callback_url, content=dreaming).status_code == 200
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(wait_at, asked, generation_id) for generation_id in ids]
        time.sleep(0.5)
        for generation_id in ids:
            [completed] = life_of(generation_id, "completed")
            assert httpx.post(told.callback_url, content=completed).status_code == 200
        begun = time.monotonic()
        states = [answer.result().json()["state"] for answer in waiting]
    assert states == ["completed"] * 20
    assert time.monotonic() - begun < 5, "by a notice, not when the wait ran out"


def test_a_listener_that_is_cut_off_comes_back_and_misses_nothing(start_service: Start) -> None:
    told, asked = start_service(**KEYLESS), start_service(**KEYLESS)
    generation_id = str(uuid.uuid4())
    dreaming, completed = life_of(generation_id, "dreaming", "completed")
    httpx.post(told.callback_url, content=dreaming)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_at, asked, generation_id)
        time.sleep(0.5)
        told.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        assert httpx.post(told.callback_url, content=completed).status_code == 200
        begun = time.monotonic()
        assert waiting.result().json()["state"] == "completed"
    assert time.monotonic() - begun < 5


@pytest.fixture
def mortal() -> Iterator[Server]:
    """A server that may be ended, and that keeps what it has committed."""
    with serving({}, in_memory()) as server:
        yield server


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.thorough
def test_a_server_that_restarts_in_a_storm_loses_nothing_that_was_answered(
    start_service: Start, mortal: Server, how: signal.Signals
) -> None:
    mortal.execute("CREATE DATABASE tracker")
    url = mortal.url("tracker")
    services = [start_service(**KEYLESS, TRACKER_DATABASE_URL=url) for _ in range(2)]
    bodies = lives(400)

    def restart() -> None:
        mortal.stop(how)
        mortal.start()

    restarting = threading.Timer(0.5, restart)
    restarting.start()
    storms = blow(services, bodies)
    restarting.join()

    answered = {
        body for storm in storms for body, status in storm.answered.items() if status == 200
    }
    statuses = {status for storm in storms for status in storm.answered.values()}
    assert statuses <= {200, 503}
    kept = {bytes(body) for (body,) in execute(url, "SELECT body FROM deliveries")}
    assert answered <= kept
    assert len(answered) > 100
    until(lambda: all(_ready(service) for service in services), 5)
    [last] = life_of("after-all", "completed")
    assert httpx.post(services[0].callback_url, content=last).status_code == 200
    assert httpx.get(f"{services[1].url}/v1/generations/after-all").status_code == 200


def _ready(service: Service) -> bool:
    return httpx.get(f"{service.url}/readyz", timeout=10).status_code == 200


@pytest.mark.thorough
def test_a_network_that_stalls_for_ten_seconds_loses_nothing_and_shows_nothing_old(
    start_service: Start, mortal: Server
) -> None:
    mortal.execute("CREATE DATABASE tracker")
    url = mortal.url("tracker")
    with relaying(mortal.port) as relay:
        through = url.replace(mortal.address, f"127.0.0.1:{relay.port}")
        near = start_service(**KEYLESS, TRACKER_DATABASE_URL=url)
        far = start_service(**KEYLESS, TRACKER_DATABASE_URL=through)
        first, second = life_of("g", "dreaming", "completed")
        assert httpx.post(far.callback_url, content=first).status_code == 200
        relay.stall()
        begun = time.monotonic()
        refused = httpx.post(far.callback_url, content=life_of("h", "queued")[0], timeout=30)
        took = time.monotonic() - begun
        assert httpx.post(near.callback_url, content=second).status_code == 200
        time.sleep(max(0.0, 10 - (time.monotonic() - begun)))
        relay.flow()

        until(lambda: _ready(far), 5)
        shown = httpx.get(f"{far.url}/v1/generations/g").json()
        assert (shown["state"], shown["rev"]) == ("completed", 2)
        assert refused.status_code == 503
        assert took < 9, "it does not hang for as long as the network does"
        again = httpx.post(far.callback_url, content=life_of("h", "queued")[0])
        assert again.status_code == 200
        assert httpx.get(f"{near.url}/v1/generations/h").json()["state"] == "queued"
