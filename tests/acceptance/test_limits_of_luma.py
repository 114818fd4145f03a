"""Luma's limits are obeyed, and Luma's outages are Luma's: what we know is served all the same."""

import asyncio
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from service.simulator import Fault, Luma, Plan
from tests.acceptance.conftest import Service
from tests.acceptance.storm import life_of
from tests.waiting import until

pytestmark = pytest.mark.either_database

FINISHED = Plan(0, 0)
SHORTEST_PAUSE = 1.6
"""Seconds for which an upstream that has just failed is left alone, at the least."""


@pytest.fixture
def service(start_service: Callable[..., Service]) -> Service:
    """With one upstream, and a budget that is not in the way."""
    return start_service(LUMA_AGENTS_API_KEY="", TRACKER_DREAM_MACHINE_RATE="1000/second")


def look_up(service: Service, generation_id: str) -> httpx.Response:
    return httpx.get(f"{service.url}/v1/generations/{generation_id}", timeout=30)


def store(service: Service, luma: Luma) -> str:
    """The id of a generation that is stored, and confirmed."""
    generation_id = luma.create(plan=FINISHED)
    assert look_up(service, generation_id).json()["verified"]
    return generation_id


async def look_up_many(service: Service, number: int) -> list[httpx.Response]:
    """So many unknown ids at once, each over a connection of its own."""
    return await asyncio.gather(*(_ask(service, f"unknown-{n}") for n in range(number)))


async def _ask(service: Service, generation_id: str) -> httpx.Response:
    """By hand: a client's pool of 500 connections would cost more than the service does."""
    url = httpx.URL(service.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    ask = f"GET /v1/generations/{generation_id} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\n"
    writer.write(f"{ask}Connection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


def in_seconds(seconds: float) -> str:
    return str(int(seconds))


def as_a_date(seconds: float) -> str:
    """A date has no fractions: what is asked for is rounded up."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds + 0.99), usegmt=True)


_BY_DATE = pytest.param(503, as_a_date, marks=pytest.mark.thorough)


@pytest.mark.parametrize(("status", "form"), [(429, in_seconds), _BY_DATE])
def test_while_luma_wants_to_be_left_alone_no_request_goes_out(
    service: Service, luma: Luma, status: int, form: Callable[[float], str]
) -> None:
    stored, wanted = store(service, luma), luma.create(plan=FINISHED)
    before = luma.count()
    luma.fault(Fault(status=status, headers={"Retry-After": form(3)}))

    told_at = time.monotonic()
    assert look_up(service, wanted).status_code == 503
    [claim] = life_of("claimed", "completed")

    def let_in() -> bool:
        again = look_up(service, wanted)
        if again.status_code == 503:
            assert 1 <= int(again.headers["retry-after"]) <= 4
            assert look_up(service, stored).status_code == 200
            assert httpx.post(service.callback_url, content=claim).status_code == 200
        return again.status_code == 200

    until(let_in, seconds=20)
    assert time.monotonic() - told_at >= 2.9
    wanting = [f"/generations/{wanted}", "/generations/claimed"]
    assert luma.count() - before == sum(luma.count("GET", path) for path in wanting)
    assert luma.count("GET", f"/generations/{wanted}") == 2, "told to wait, and then answered"


@pytest.mark.thorough
def test_after_five_failures_it_is_left_alone_and_one_probe_finds_it_back(
    service: Service, luma: Luma
) -> None:
    luma.fault(Fault(status=500, times=None))
    answers = [look_up(service, f"unknown-{n}") for n in range(4)]
    begun = time.monotonic()
    for n in range(4, 20):
        answers.append(look_up(service, f"unknown-{n}"))
        assert luma.count() == 5 or time.monotonic() - begun >= SHORTEST_PAUSE
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)

    luma.clear_faults()
    luma.fault(Fault(delay=3))  # the probe takes its time; the others do not wait for it
    asked = [*(luma.create(plan=FINISHED) for _ in range(10))]
    before = luma.count()
    until(lambda: _some(asyncio.run(_at_once(service, asked))), seconds=20)
    assert luma.count() == before + 1
    assert {look_up(service, generation_id).status_code for generation_id in asked} == {200}


async def _at_once(service: Service, ids: list[str]) -> list[int]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        answers = await asyncio.gather(*(client.get(f"/v1/generations/{i}") for i in ids))
    return [answer.status_code for answer in answers]


def _some(statuses: list[int]) -> bool:
    """Whether one of them got through; never more than one does."""
    assert statuses.count(200) <= 1
    assert set(statuses) <= {200, 503}
    return 200 in statuses


OUTAGES = [
    pytest.param(Fault(drop=True, times=None), id="hangs-up"),
    pytest.param(Fault(delay=60, times=None), id="hangs"),
]


@pytest.mark.parametrize("fault", OUTAGES)
@pytest.mark.thorough
def test_with_luma_down_500_lookups_at_once_are_answered_and_pile_nothing_up(
    start_service: Callable[..., Service], luma: Luma, fault: Fault
) -> None:
    service = start_service(
        LUMA_AGENTS_API_KEY="",
        TRACKER_DREAM_MACHINE_RATE="20/second",
        TRACKER_UPSTREAM_TIMEOUT="2",
    )
    stored = store(service, luma)
    luma.fault(fault)

    begun = time.monotonic()
    answered = asyncio.run(look_up_many(service, 500))
    took = time.monotonic() - begun
    meanwhile = [_timed(service, stored) for _ in range(20)]
    calls = [
        httpx.post(service.callback_url, content=body).status_code
        for body in life_of("told-in-the-outage", "dreaming")
    ]

    assert {answer.status_code for answer in answered} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answered)
    assert took < 12  # 2 s to wait for room, 2 s for Luma; the rest is the machine's
    assert statistics.median(meanwhile) < 0.5
    assert calls == [200]

    begun = time.monotonic()
    assert look_up(service, "one-more").status_code == 503
    assert time.monotonic() - begun < 4  # it may be the probe, but stands in no queue
    luma.clear_faults()


def _timed(service: Service, generation_id: str) -> float:
    begun = time.monotonic()
    assert look_up(service, generation_id).status_code == 200
    return time.monotonic() - begun


def test_a_spent_budget_is_told_with_when_to_come_again(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    service = start_service(LUMA_AGENTS_API_KEY="", TRACKER_DREAM_MACHINE_RATE="3/minute")
    ids = [luma.create(plan=FINISHED) for _ in range(4)]
    assert [look_up(service, generation_id).status_code for generation_id in ids[:3]] == [200] * 3
    refused = look_up(service, ids[3])
    assert refused.status_code == 503
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert luma.count() == 3
    assert look_up(service, ids[0]).status_code == 200
