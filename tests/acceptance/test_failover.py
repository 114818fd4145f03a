"""A primary that dies and a replica that takes its place: nothing that was answered is lost."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.acceptance.conftest import KEYLESS, Service
from tests.acceptance.storm import Storm, life_of
from tests.acceptance.test_instances import blow, lives, wait_at
from tests.databases import execute
from tests.postgres import Server, following, serving
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
        """The primary is gone, and after a moment the replica takes its place."""
        self.primary.vanish()
        until(lambda: not self.primary.answers())
        self.replica.execute("SELECT pg_promote()")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both with the settings that keep what was committed."""
    with serving({}) as primary:
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


def until_told(service: Service, generation_id: str, state: str) -> None:
    """Call back as Luma does: again, as long as the answer is not 200."""
    until(lambda: call(service, generation_id, state) == 200, _SOON)


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


def test_a_failover_in_a_storm_loses_nothing_that_was_answered(
    services: list[Service], pair: Pair
) -> None:
    bodies = lives(500)
    with blowing(services, bodies) as blown, ThreadPoolExecutor() as threads:
        until(lambda: execute(pair.url, "SELECT count(*) FROM deliveries")[0][0] > 100)
        pair.fail_over()
        promoted = time.monotonic()
        assert not blown.done(), "it fails over in the middle of the storm"
        [*threads.map(lambda service: until(lambda: serves(service), _SOON), services)]
        took = time.monotonic() - promoted
        storms = blown.result()

    assert took < _SOON
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
    assert execute(url, "SELECT 1 FROM events GROUP BY generation_id, rev HAVING count(*) > 1") == []
    revs = Counter(id_ for (id_,) in execute(url, "SELECT generation_id FROM events"))
    assert dict(execute(url, "SELECT id, rev FROM generations")) == revs
    print(f"service again {took:.2f} s after the promotion")
