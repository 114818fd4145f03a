"""A callback that never came is found: by asking, once per due check, inside Luma's limits."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest

from service.simulator import Fault, Luma, Plan
from tests.acceptance.conftest import UNASKED, Service
from tests.acceptance.storm import Storm, life_of
from tests.databases import execute
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

NO_AGENTS = {"LUMA_AGENTS_API_KEY": ""}
MANY = 200
LONG_AGO = "2020-01-01 00:00:00.000000"
FINISHED, ENDLESS = Plan(0, 0), Plan(0, 10**9)
_LATE = 0.3
"""Seconds that a request may be late by when we see it, since the processor is shared."""


@contextmanager
def arrivals(luma: Luma) -> Iterator[list[float]]:
    """When each request came in, as far as can be seen from outside."""
    seen, over = list[float](), threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            seen.extend([time.monotonic()] * (luma.count() - len(seen)))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


def fullest(times: Sequence[float], seconds: float) -> int:
    """The most requests in any window of that length."""
    return max((sum(begin <= at < begin + seconds for at in times) for begin in times), default=0)


def make_known(service: Service, ids: Sequence[str], state: str = "queued") -> None:
    """The first callbacks came through."""
    storm = Storm(service.callback_url, connections=8)
    asyncio.run(storm.blow([body for id_ in ids for body in life_of(id_, state)]))
    assert set(storm.answered.values()) == {200}


def confirmed(service: Service, state: str = "completed") -> int:
    """How many rows are in that state, and confirmed."""
    query = "SELECT count(*) FROM generations WHERE state = ? AND verified"
    [(number,)] = service.rows(query, state)
    return int(number)


def asked(luma: Luma, generation_id: str) -> int:
    return luma.count("GET", f"/generations/{generation_id}")


@pytest.mark.thorough
def test_with_callbacks_cut_200_generations_end_as_luma_says_within_its_limits(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    """Each is asked about once: it is due once, and then final and confirmed for good."""
    service = start_service(**NO_AGENTS, TRACKER_DREAM_MACHINE_RATE="40/second")
    luma.deliver_callbacks = False
    url = service.callback_url
    ids = [luma.create(callback_url=url, plan=Plan(0.1, 1)) for _ in range(MANY)]
    make_known(service, ids)
    begun = time.monotonic()
    luma.advance(60)

    with arrivals(luma) as times:
        until(lambda: confirmed(service) == MANY, seconds=30)
        took = time.monotonic() - begun

    interval = 2.2  # the longest first pause about what was created long ago
    assert took < interval + MANY / 32 + 5  # by the share that the background may use
    assert luma.count("GET") == MANY
    assert {asked(luma, id_) for id_ in ids} == {1}
    assert fullest(times, 1 - _LATE) <= 40
    assert {source for (source,) in service.rows("SELECT source FROM generations")} == {"reconcile"}


@pytest.mark.thorough
def test_the_default_budget_is_kept_while_many_are_due(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    """And every fifth request is left to people, who are answered at once."""
    service = start_service(**NO_AGENTS, TRACKER_DREAM_MACHINE_RATE="5/second")
    ids = [luma.create(plan=ENDLESS) for _ in range(60)]
    make_known(service, ids)
    until(lambda: luma.count() >= 4)
    slowest = 0.0
    with arrivals(luma) as times:
        for _ in range(4):
            unknown, begun = luma.create(plan=FINISHED), time.monotonic()
            answer = httpx.get(f"{service.url}/v1/generations/{unknown}", timeout=10)
            slowest = max(slowest, time.monotonic() - begun)
            assert answer.status_code == 200
    assert slowest < 2
    assert fullest(times, 3 - 2 * _LATE) <= 15


@pytest.mark.thorough
def test_two_services_on_one_database_never_ask_twice_about_the_same_due_row(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    rate = {"TRACKER_DREAM_MACHINE_RATE": "1000/second"}
    one = start_service(**NO_AGENTS, **rate)
    other = start_service(**NO_AGENTS, **rate)
    assert httpx.get(f"{other.url}/readyz", timeout=20).status_code == 200
    ids = [luma.create(plan=FINISHED) for _ in range(120)]
    make_known(one, ids)
    until(lambda: confirmed(one) == len(ids))
    assert luma.count("GET") == len(ids)
    assert {asked(luma, id_) for id_ in ids} == {1}


def test_what_fell_due_while_the_service_was_down_is_found_after_its_start(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    service = start_service(**NO_AGENTS)
    quiet = [luma.create(plan=Plan(0.1, 1)) for _ in range(3)]
    make_known(service, quiet)
    service.kill()
    luma.advance(60)
    service.start()
    until(lambda: confirmed(service) == 3)


@pytest.mark.thorough
def test_what_is_final_and_confirmed_is_never_asked_about_while_others_are(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    service = start_service(**NO_AGENTS)
    done, endless = luma.create(plan=FINISHED), luma.create(plan=ENDLESS)
    make_known(service, [done], "completed")
    make_known(service, [endless])
    until(lambda: asked(luma, endless) >= 2)
    assert asked(luma, done) == 1
    assert confirmed(service) == 1


@pytest.mark.thorough
def test_what_an_instance_was_asking_about_when_it_died_another_asks_about(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    ids = [luma.create(plan=FINISHED) for _ in range(3)]
    dying = start_service(**NO_AGENTS)
    luma.fault(Fault(delay=30, times=None))
    make_known(dying, ids)
    until(lambda: luma.count("GET") == len(ids))
    dying.kill()
    luma.clear_faults()
    heir = start_service(**NO_AGENTS)
    make_known(heir, [another := luma.create(plan=FINISHED)])
    until(lambda: confirmed(heir) == 1)
    assert asked(luma, another) == 1
    assert {asked(luma, id_) for id_ in ids} == {1}, "for a while they are the other's to ask about"

    claims = "UPDATE generations SET next_check_at = ? WHERE state = 'queued'"
    execute(heir.database, claims, LONG_AGO)  # as if that while were over
    until(lambda: confirmed(heir) == 1 + len(ids))
    assert {asked(luma, id_) for id_ in ids} == {2}


def test_an_instance_that_does_not_reconcile_asks_nobody_unasked_and_says_so(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    service = start_service(**NO_AGENTS, **UNASKED)
    make_known(service, [luma.create(plan=FINISHED)], "completed")
    time.sleep(1)  # four rounds of one that does
    assert luma.count() == 0
    assert confirmed(service) == 0
    assert "TRACKER_RECONCILE" in service.said
