"""The rate limiter: requests never exceed the rate, and no purpose starves another."""

import asyncio
import random
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.request_budget import Purpose, Rate, Request
from service.luma.rate_limiter import RateLimiter
from tests.seconds import Seconds

SHARES = {Purpose.READ: 2, Purpose.VERIFY: 1, Purpose.RECONCILE: 1}
"""The number of requests out of ten that are reserved for a purpose."""


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


async def spend_all(limiter: RateLimiter, purpose: Purpose) -> int:
    """Make requests for a purpose until one is refused; returns how many were allowed."""
    spent = 0
    while await limiter.acquire(purpose, timeout=0) == 0:
        spent += 1
    return spent


def fullest(times: list[float], period: float) -> int:
    """Return the highest number of requests in any window of `period` seconds."""
    return max(sum(begin <= at < begin + period for at in times) for begin in times)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5/second", Rate(5, 1)),
        ("30/minute", Rate(30, 60)),
        ("1000/hour", Rate(1000, 3600)),
        ("  7 / minute ", Rate(7, 60)),
    ],
)
def test_a_rate_is_a_number_and_a_period(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "5", "5/day", "0/second", "-1/second", "1.5/second", "5/seconds", "many/minute"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be like"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("purpose", "most"), [(Purpose.READ, 8), (Purpose.VERIFY, 7), (Purpose.RECONCILE, 7)]
)
async def test_alone_a_purpose_fills_all_but_the_shares_of_the_others(
    seconds: Seconds, purpose: Purpose, most: int
) -> None:
    assert await spend_all(RateLimiter(Rate(10, 1), seconds), purpose) == most


@pytest.mark.parametrize(
    ("purpose", "most"), [(Purpose.READ, 21), (Purpose.VERIFY, 20), (Purpose.RECONCILE, 29)]
)
async def test_without_callbacks_reconciling_may_use_nearly_all(
    seconds: Seconds, purpose: Purpose, most: int
) -> None:
    rate = Rate.parse("30/minute", polled=True)
    assert await spend_all(RateLimiter(rate, seconds), purpose) == most


async def test_without_callbacks_a_request_is_kept_free_for_the_next_read(
    seconds: Seconds,
) -> None:
    """Until reads have used their share: the first six in a minute find one as it comes free."""
    limiter = RateLimiter(Rate.parse("30/minute", polled=True), seconds)
    reads = 0
    for _ in range(120):
        await limiter.acquire(Purpose.RECONCILE, timeout=0)
        reads += await limiter.acquire(Purpose.READ, timeout=0) == 0
        seconds.now += 1
    assert reads >= 2 * 6


@pytest.mark.parametrize("rate", [Rate(1, 60, True), Rate(5, 1, True), Rate(30, 60, True)])
@pytest.mark.parametrize("starved", [Purpose.READ, Purpose.RECONCILE])
async def test_without_callbacks_no_purpose_starves_either(
    seconds: Seconds, rate: Rate, starved: Purpose
) -> None:
    limiter = RateLimiter(rate, seconds)
    for _ in range(3):
        for purpose in Purpose:
            if purpose is not starved:
                await spend_all(limiter, purpose)
        seconds.now += rate.window
        assert await limiter.acquire(starved, timeout=0) == 0


@pytest.mark.parametrize("first", list(permutations(Purpose)))
async def test_whoever_comes_first_each_purpose_finds_its_share(
    seconds: Seconds, first: tuple[Purpose, ...]
) -> None:
    limiter = RateLimiter(Rate(10, 1), seconds)
    spent = {purpose: await spend_all(limiter, purpose) for purpose in first}
    assert sum(spent.values()) == 10
    for purpose, share in SHARES.items():
        assert spent[purpose] >= share
    assert [limiter.available(purpose) for purpose in Purpose] == [0, 0, 0]


@pytest.mark.parametrize("rate", [Rate(1, 60), Rate(2, 1), Rate(3, 1), Rate(5, 1), Rate(30, 60)])
@pytest.mark.parametrize("starved", Purpose)
async def test_a_purpose_is_served_however_greedy_the_others_are(
    seconds: Seconds, rate: Rate, starved: Purpose
) -> None:
    """The others always use up their room; still it waits at most a window and a period."""
    limiter, served = RateLimiter(rate, seconds), list[float]()
    for _ in range(300):
        for purpose in Purpose:
            if purpose is not starved:
                await spend_all(limiter, purpose)
        if await limiter.acquire(starved, timeout=0) == 0:
            served.append(seconds.now)
        seconds.now += rate.window / 50
    assert (
        max(later - earlier for earlier, later in pairwise([1000.0, *served]))
        <= rate.window + rate.period
    )


@pytest.mark.parametrize("purpose", Purpose)
async def test_the_smallest_budget_still_has_room_for_everyone_in_turn(
    seconds: Seconds, purpose: Purpose
) -> None:
    limiter = RateLimiter(Rate(1, 60), seconds)
    assert await spend_all(limiter, purpose) == 1
    seconds.now += 60
    assert await spend_all(limiter, purpose) == 1


async def test_room_comes_back_one_by_one_as_requests_leave_the_window(seconds: Seconds) -> None:
    limiter = RateLimiter(Rate(3, 10), seconds)
    for _ in range(3):
        assert await limiter.acquire(Purpose.READ, timeout=0) == 0
        seconds.now += 2
    assert limiter.seconds_until_available(Purpose.READ) == pytest.approx(4)
    assert await limiter.acquire(Purpose.READ, timeout=3.9) == pytest.approx(4)
    seconds.now += 3.9
    assert limiter.available(Purpose.READ) == 0
    seconds.now += 0.1
    assert limiter.available(Purpose.READ) == 1
    assert await spend_all(limiter, Purpose.READ) == 1
    assert limiter.seconds_until_available(Purpose.READ) == pytest.approx(2)


async def test_who_is_refused_has_spent_nothing(seconds: Seconds) -> None:
    limiter = RateLimiter(Rate(2, 1), seconds)
    await spend_all(limiter, Purpose.READ)
    for _ in range(50):
        assert await limiter.acquire(Purpose.READ, timeout=0.5) == pytest.approx(1)
    seconds.now += 1
    assert limiter.available(Purpose.READ) == 2


@pytest.mark.parametrize("seed", range(5))
async def test_no_window_ever_holds_more_than_the_rate(seconds: Seconds, seed: int) -> None:
    """Requests for every purpose at random times, for a long time."""
    chance, rate = random.Random(seed), Rate(7, 1.0)
    limiter, went = RateLimiter(rate, seconds), list[float]()
    for _ in range(2000):
        seconds.now += chance.expovariate(30)
        if await limiter.acquire(chance.choice(list(Purpose)), timeout=0) == 0:
            went.append(seconds.now)
    assert fullest(went, rate.period) == rate.requests  # exactly as many as allowed


async def test_who_is_patient_gets_the_room_when_there_is_some() -> None:
    limiter, loop = RateLimiter(Rate(2, 0.1)), asyncio.get_running_loop()
    await spend_all(limiter, Purpose.READ)
    begun = loop.time()
    assert await limiter.acquire(Purpose.READ, timeout=5) == 0
    assert 0.05 < loop.time() - begun < 2


async def test_many_who_wait_together_do_not_overdraw_together() -> None:
    rate, went = Rate(5, 0.1), list[float]()
    limiter, loop = RateLimiter(rate), asyncio.get_running_loop()

    async def ask(purpose: Purpose) -> None:
        assert await limiter.acquire(purpose, timeout=10) == 0
        went.append(loop.time())

    await asyncio.gather(*(ask(purpose) for purpose in Purpose for _ in range(10)))

    assert len(went) == 30
    # measured when the coroutines resume, which is a little later than the requests
    assert fullest(went, rate.period * 0.8) <= rate.requests


async def test_people_go_past_a_queue_of_the_background() -> None:
    limiter = RateLimiter(Rate(10, 0.5))
    await spend_all(limiter, Purpose.RECONCILE)
    queue = [asyncio.create_task(limiter.acquire(Purpose.RECONCILE, timeout=5)) for _ in range(20)]
    await asyncio.sleep(0)  # let them start to wait

    assert await limiter.acquire(Purpose.READ, timeout=0) == 0
    assert await limiter.acquire(Purpose.READ, timeout=0) == 0
    assert not any(waiting.done() for waiting in queue)

    for waiting in queue:
        waiting.cancel()
    await asyncio.gather(*queue, return_exceptions=True)


async def test_who_gives_up_waiting_takes_no_room() -> None:
    limiter = RateLimiter(Rate(2, 0.2))
    await spend_all(limiter, Purpose.READ)
    waiting = asyncio.create_task(limiter.acquire(Purpose.READ, timeout=5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await limiter.acquire(Purpose.READ, timeout=5) == 0
    assert limiter.available(Purpose.READ) == 1


@given(
    rate=st.builds(Rate, st.integers(1, 40), st.just(1.0), st.booleans()),
    made=st.lists(st.builds(Request, st.floats(0, 9), st.sampled_from(Purpose)), max_size=50),
)
def test_where_there_is_room_every_purpose_may_make_a_request(
    rate: Rate, made: list[Request]
) -> None:
    if rate.has_room(len(made)):
        assert all(rate.available(purpose, made) for purpose in Purpose)
