"""Two instances behind PgBouncer in transaction mode are as good as two at the server itself."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import KEYLESS, Service, environment_for, start_together
from tests.acceptance.test_events import all_events, check_order, listening
from tests.acceptance.test_failover import call
from tests.acceptance.test_instances import blow, lives, wait_at
from tests.databases import server, url_in
from tests.pooler import Pooler, installed, pooling

pytestmark = pytest.mark.postgres

Start = Callable[..., Service]

_SIZE = 4  # connections to the server; fewer than the callbacks and readers at once


@pytest.fixture
def pooler() -> Iterator[Pooler]:
    """One before the server of the tests."""
    if not installed() and not os.environ.get("CI"):
        pytest.skip("pgbouncer is not installed, as by `apt-get install pgbouncer`")
    with pooling(server(), _SIZE) as running:
        yield running


@pytest.fixture
def given(tmp_path: Path, pooler: Pooler) -> dict[str, str]:
    """The settings of an instance behind it."""
    direct = url_in(tmp_path)
    through = direct.replace(server().address, pooler.address)
    return {**KEYLESS, "TRACKER_DATABASE_URL": through, "TRACKER_DATABASE_DIRECT_URL": direct}


@pytest.fixture
def services(start_service: Start, given: dict[str, str]) -> list[Service]:
    """Two instances behind it."""
    return [start_service(**given) for _ in range(2)]


def check_health(services: list[Service]) -> None:
    """Whatever pooling breaks is trouble that is tried again; the log has what lasts."""
    for service in services:
        assert "level=error" not in service.said
        assert "notices_failed" not in service.said


@pytest.mark.thorough
def test_instances_that_start_together_behind_a_pooler_migrate_once(
    tmp_path: Path, luma: Luma, given: dict[str, str]
) -> None:
    services = [Service(environment_for(tmp_path, luma, **given), tmp_path) for _ in range(4)]
    start_together(services)
    assert sum(service.said.count("database_created") for service in services) == 1
    check_health(services)


@pytest.mark.thorough
def test_a_storm_of_duplicates_behind_a_pooler_is_folded_once(
    services: list[Service], pooler: Pooler
) -> None:
    bodies = lives(150)
    with ThreadPoolExecutor(1) as threads:
        storming = threads.submit(blow, services, bodies)
        read = 0
        while not storming.done():  # pages and events meanwhile
            for service in services:
                for path in ("/v1/generations?state=completed", "/v1/events?after=0", "/readyz"):
                    assert httpx.get(f"{service.url}{path}", timeout=30).status_code == 200
                    read += 1
        storms = storming.result()

    for storm in storms:
        assert len(storm.answered) == len(bodies)
        assert set(storm.answered.values()) == {200}
    one = services[0]
    kept = one.rows("SELECT count(*), sum(duplicates), count(handled_at) FROM deliveries")
    assert kept == [(len(bodies), len(bodies), len(bodies))]
    assert one.rows("SELECT state, count(*) FROM generations GROUP BY 1") == [("completed", 150)]
    items = asyncio.run(all_events(one))
    check_order(items)
    assert asyncio.run(all_events(services[1])) == items
    assert read > 10
    check_health(services)


def connections(pooler: Pooler) -> tuple[int, int]:
    """How many come to it, and how many it has at the server."""
    came = [row for row in pooler.figures("SHOW CLIENTS") if row[2] != "pgbouncer"]
    return len(came), len(pooler.figures("SHOW SERVERS"))


@pytest.mark.thorough
def test_more_connections_come_to_the_pooler_than_it_has(
    services: list[Service], pooler: Pooler
) -> None:
    urls = [f"{services[n % 2].url}/v1/generations?limit=1" for n in range(400)]
    with ThreadPoolExecutor(40) as threads, httpx.Client(timeout=30) as client:
        answers = [*threads.map(lambda url: client.get(url).status_code, urls)]
    assert answers == [200] * 400
    clients, servers = connections(pooler)
    assert clients > _SIZE >= servers
    check_health(services)


@pytest.mark.thorough
def test_who_waits_behind_a_pooler_hears_what_another_instance_is_told(
    services: list[Service],
) -> None:
    told, asked = services
    ids = [str(uuid.uuid4()) for _ in range(20)]
    assert {call(told, id_, "dreaming") for id_ in ids} == {200}
    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(wait_at, asked, id_) for id_ in ids]
        assert {call(told, id_, "completed") for id_ in ids} == {200}
        begun = time.monotonic()
        assert {answer.result().json()["state"] for answer in waiting} == {"completed"}
    assert time.monotonic() - begun < 5, "by hearing of it, not when the wait ran out"
    check_health(services)


async def test_notices_go_past_the_pooler(services: list[Service]) -> None:
    told, asked = services
    async with listening(asked) as listener:
        begun = time.monotonic()
        for n in range(10):
            assert call(told, f"g{n}", "completed") == 200
            await listener.until(lambda n=n: listener.stream.seqs[n:])  # type: ignore[misc]
        assert time.monotonic() - begun < 5, "by notices: looking without takes a second each"
    check_health(services)
