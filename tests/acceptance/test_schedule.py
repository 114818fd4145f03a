"""Generations of the API that cannot call back are known soon after they end, within its limit."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from service.simulator import Fault, Luma, ManualClock, Plan, Simulator
from tests.acceptance.conftest import ASKING, UNASKED, Service
from tests.acceptance.test_reconciler import arrivals, asked, confirmed, fullest
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

RATE = 5
MANY = 20
AGE = timedelta(seconds=20)
_LATE = 0.3  # seconds that a request may be late by when we see it


@pytest.fixture
def luma() -> Iterator[Luma]:
    """With a clock that only the test moves, a little behind the service's."""
    with Simulator(clock=ManualClock(datetime.now(UTC) - AGE)).running() as running:
        yield running


def open_ones(service: Service, luma: Luma) -> list[str]:
    """Create generations that the service has seen open, and end the service."""
    ids = [luma.create("image", upstream="agents", plan=Plan(1, 9)) for _ in range(MANY)]
    luma.advance(5)
    for id_ in ids:
        answer = httpx.get(f"{service.url}/v1/generations/{id_}", timeout=10).json()
        assert answer["state"] == "processing"
    service.kill()
    return ids


def start_at_rate(service: Service) -> None:
    service.environment |= {"TRACKER_AGENTS_RATE": f"{RATE}/second", **ASKING}
    service.start()


@pytest.fixture
def service(start_service: Callable[..., Service]) -> Service:
    return start_service(LUMAAI_API_KEY="", TRACKER_AGENTS_RATE="1000/second", **UNASKED)


@pytest.mark.thorough
def test_a_burst_that_has_ended_is_known_as_fast_as_the_limit_allows(
    service: Service, luma: Luma
) -> None:
    ids = open_ones(service, luma)
    luma.advance(60)
    begun = time.monotonic()
    with arrivals(luma) as times:
        start_at_rate(service)
        until(lambda: confirmed(service) == MANY, seconds=30)
    took = time.monotonic() - begun

    assert took < MANY / RATE + 6, "a start, and less than a second for each request"
    assert {asked(luma, id_) for id_ in ids} == {2}, "a lookup, and one check"
    assert fullest(times[MANY:], 1 - _LATE) <= RATE
    counted = service.rows("SELECT kind, sum(count) FROM durations GROUP BY kind ORDER BY kind")
    assert [int(number) for _, number in counted] == [MANY, MANY], counted


@pytest.mark.thorough
def test_a_rate_limit_of_luma_is_obeyed_and_then_all_are_found(
    service: Service, luma: Luma
) -> None:
    open_ones(service, luma)
    luma.advance(60)
    pause = {"Retry-After": "2", "X-RateLimit-Limit": "120", "X-RateLimit-Remaining": "0"}
    luma.fault(Fault(status=429, headers=pause, body=b'{"detail": "Rate limit exceeded"}'))
    before = luma.count()
    start_at_rate(service)
    until(lambda: luma.count() > before)
    paused = luma.count()
    time.sleep(1)  # half of the pause
    assert luma.count() <= paused + RATE, "only what was under way"
    until(lambda: "rate_lowered" in service.said)
    until(lambda: confirmed(service) == MANY, seconds=30)
