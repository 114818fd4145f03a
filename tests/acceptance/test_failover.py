"""A primary that dies and a replica that takes its place: nothing that was answered is lost."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import httpx
import pytest

from tests.acceptance.conftest import KEYLESS, Service
from tests.acceptance.storm import Storm, life_of
from tests.acceptance.test_events import listening
from tests.acceptance.test_instances import blow, lives, wait_at
from tests.databases import execute
from tests.postgres import Server, following, in_memory, serving
from tests.waiting import until

pytestmark = pytest.mark.postgres

Start = Callable[..., Service]

_RANKS = {"queued": 0, "dreaming": 1, "completed": 2}
_SOON = 10.0
"""Seconds after the promotion within which the service is there again."""


@dataclass
class Pair:
    """A primary, and the replica that it waits for."""

    primary: Server
    replica: Server

    @property
    def url(self) -> str:
        """Whichever of them takes writes."""
        hosts = f"{self.primary.address},{self.replica.address}"
        return f"postgresql://postgres@{hosts}/tracker?target_session_attrs=read-write"

    def fail_over(self) -> None:
        """The primary is gone, and the replica takes its place."""
        self.primary.vanish()
        self.promote()

    def promote(self) -> None:
        """The replica takes writes, and waits for nobody."""
        self.replica.execute("SELECT pg_promote()")
        assert self.replica.one("SHOW synchronous_standby_names") == ""


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both with the settings that keep what was committed."""
    with serving({}, in_memory()) as primary:
        primary.execute("CREATE DATABASE tracker")
        with following(primary) as replica:
            yield Pair(primary, replica)


@pytest.fixture
def services(start_service: Start, pair: Pair) -> list[Service]:
    """Two instances on the pair."""
    return [start_service(**KEYLESS, TRACKER_DATABASE_URL=pair.url) for _ in range(2)]


def call(service: Service, generation_id: str, state: str) -> int:
    """The status of the answer to a callback."""
    [body] = life_of(generation_id, state)
    return httpx.post(service.callback_url, content=body, timeout=30).status_code


def serves(service: Service) -> bool:
    """Whether it can be relied on, and takes a callback."""
    ready = httpx.get(f"{service.url}/readyz", timeout=30).status_code
    return ready == 200 and call(service, "after-all", "completed") == 200


def until_all_serve(services: list[Service]) -> None:
    """Soon, and all at the same time."""
    with ThreadPoolExecutor() as threads:
        [*threads.map(lambda service: until(lambda: serves(service), _SOON), services)]


@contextmanager
def blowing(services: list[Service], bodies: list[bytes]) -> Iterator[Future[list[Storm]]]:
    """The storm, from beside the test; where the test fails it ends with the services."""
    with ThreadPoolExecutor(1) as threads:
        storms = threads.submit(blow, services, bodies)
        try:
            yield storms
        except BaseException:
            for service in services:
                service.kill()
            raise


def taken(storms: list[Storm]) -> set[bytes]:
    """What was answered 200, by whichever instance."""
    return {body for storm in storms for body, status in storm.answered.items() if status == 200}


@pytest.mark.thorough
def test_a_failover_in_a_storm_loses_nothing_that_was_answered(
    services: list[Service], pair: Pair
) -> None:
    bodies = lives(500)
    with blowing(services, bodies) as blown:
        until(lambda: execute(pair.url, "SELECT count(*) FROM deliveries")[0][0] > 100)
        pair.fail_over()
        promoted = time.monotonic()
        assert not blown.done(), "it fails over in the middle of the storm"
        until_all_serve(services)
        assert time.monotonic() - promoted < _SOON
        storms = blown.result()

    answered = taken(storms)
    assert {status for storm in storms for status in storm.answered.values()} <= {200, 503}
    assert len(answered) > len(bodies) / 2
    url = pair.replica.url("tracker")
    kept = {bytes(body) for (body,) in execute(url, "SELECT body FROM deliveries")}
    assert answered <= kept
    assert execute(url, "SELECT count(*) FROM deliveries WHERE handled_at IS NULL") == [(0,)]
    states = dict(execute(url, "SELECT id, state FROM generations"))
    for told in map(json.loads, answered):
        assert _RANKS[states[told["id"]]] >= _RANKS[told["state"]]
    assert (
        execute(url, "SELECT 1 FROM events GROUP BY generation_id, rev HAVING count(*) > 1") == []
    )
    revs = Counter(id_ for (id_,) in execute(url, "SELECT generation_id FROM events"))
    assert dict(execute(url, "SELECT id, rev FROM generations")) == revs


@pytest.mark.thorough
def test_after_an_outage_that_was_answered_503_the_service_is_soon_there_again(
    services: list[Service], pair: Pair
) -> None:
    pair.primary.vanish()
    with ThreadPoolExecutor() as threads:
        refused = [*threads.map(lambda one: call(one, "meanwhile", "completed"), services)]
        pair.promote()
        until_all_serve(services)
    assert refused == [503, 503]
    assert call(services[0], "meanwhile", "completed") == 200


@pytest.mark.thorough
def test_who_waits_through_a_failover_hears_what_another_instance_is_told_after_it(
    services: list[Service], pair: Pair
) -> None:
    told, asked = services
    assert call(told, "g", "dreaming") == 200
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_at, asked, "g", 30)
        pair.fail_over()
        until(lambda: call(told, "g", "completed") == 200, _SOON)
        begun = time.monotonic()
        assert waiting.result().json()["state"] == "completed"
    assert time.monotonic() - begun < 10, "by hearing of it, not when the wait ran out"


@pytest.mark.thorough
async def test_who_listens_through_a_failover_hears_of_changes_at_once(
    services: list[Service], pair: Pair
) -> None:
    told, asked = services
    async with listening(asked) as listener:
        names = count()

        async def seconds_to_hear() -> float:
            """Tell one service of a change, and hear of it from the other."""
            begun, heard = time.monotonic(), len(listener.stream.seqs)
            assert call(told, f"g{next(names)}", "completed") == 200
            await listener.until(lambda: len(listener.stream.seqs) > heard)
            return time.monotonic() - begun

        while await seconds_to_hear() > 0.5:  # until notices are listened for
            assert len(listener.stream.seqs) < 20
        pair.fail_over()
        until_all_serve(services)
        until(lambda: "notices_failed" in asked.said)
        assert sum([await seconds_to_hear() for _ in range(10)]) < 5, "without, each takes a second"


@pytest.mark.thorough
def test_a_primary_that_stays_but_takes_no_more_writes_is_left(
    services: list[Service], pair: Pair
) -> None:
    until_all_serve(services)
    for service in services:  # all of its connections are open
        assert call(service, "before", "completed") == 200
        assert httpx.get(f"{service.url}/v1/generations?q=before").json()["items"]
        assert httpx.get(f"{service.url}/v1/stats").status_code == 200
    pair.primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    pair.primary.execute("SELECT pg_reload_conf()")
    pair.promote()
    until_all_serve(services)
    for one, other in (services, services[::-1]):
        assert call(one, one.url[-5:], "completed") == 200
        assert httpx.get(f"{other.url}/v1/generations/{one.url[-5:]}").status_code == 200
        assert httpx.get(f"{other.url}/v1/generations?q={one.url[-5:]}").json()["items"]
        stored = execute(pair.replica.url("tracker"), "SELECT count(*) FROM generations")
        totals = httpx.get(f"{other.url}/v1/stats").json()["totals"]
        assert [(totals["generations"],)] == stored
