"""Admission control: requests that overlap, fail, are refused or are cancelled."""

import asyncio
from contextlib import AsyncExitStack
from time import monotonic

import pytest

from service.domain.request_budget import Purpose, Rate
from service.errors import (
    NotFound,
    UpstreamError,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.luma.admission import AdmissionControl

WIDE = Rate(1000, 1)


@pytest.fixture
def admission() -> AdmissionControl:
    return AdmissionControl("dream_machine", WIDE)


def down() -> UpstreamUnavailable:
    """A failure without Retry-After."""
    return UpstreamUnavailable("dream_machine", "It did not answer.")


def limiting(seconds: float) -> UpstreamUnavailable:
    """A 429 response with Retry-After."""
    return UpstreamUnavailable("dream_machine", "429", retry_after=seconds, from_upstream=True)


async def ask(
    admission: AdmissionControl, error: Exception | None = None, purpose: Purpose = Purpose.READ
) -> None:
    """Make one request, which ends with `error`."""
    async with admission.admit(purpose):
        if error:
            raise error


async def fail(admission: AdmissionControl, times: int, error: Exception | None = None) -> None:
    """Make failing requests, one after the other."""
    for _ in range(times):
        with pytest.raises((UpstreamError, NotFound)):
            await ask(admission, error or down())


async def refused_for(admission: AdmissionControl) -> float:
    """Return the seconds for which a request is refused; 0 if it is admitted."""
    try:
        await ask(admission)
    except UpstreamUnavailable as refusal:
        return refusal.retry_after
    return 0.0


async def until_open_again(admission: AdmissionControl) -> None:
    """Wait until a request would be admitted."""
    deadline = monotonic() + 10
    while not admission.available(Purpose.READ):
        assert monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_after_five_failures_in_a_row_nothing_goes_out(admission: AdmissionControl) -> None:
    await fail(admission, 5)
    asked = False
    with pytest.raises(UpstreamUnavailable, match="is paused after failures; retry in") as refusal:
        async with admission.admit(Purpose.READ):
            asked = True
    assert not asked
    assert 1 < refusal.value.retry_after <= 2.4
    assert [admission.available(purpose) for purpose in Purpose] == [0, 0, 0]


@pytest.mark.parametrize(
    "answer",
    [
        NotFound("no such generation"),
        UpstreamRefused("dream_machine", "401"),
        UpstreamNonsense("dream_machine", "a web page"),
    ],
)
async def test_an_upstream_that_answers_is_up_whatever_it_says(
    admission: AdmissionControl, answer: Exception
) -> None:
    for _ in range(3):
        await fail(admission, 4)
        await fail(admission, 1, answer)
    assert await refused_for(admission) == 0


async def test_it_waits_for_as_long_as_it_is_told_after_the_first_refusal(
    admission: AdmissionControl,
) -> None:
    await fail(admission, 1, limiting(30))
    assert await refused_for(admission) == pytest.approx(30, abs=1)


async def test_a_good_answer_that_was_under_way_does_not_end_the_pause(
    admission: AdmissionControl,
) -> None:
    """A success of a request that began before the pause does not end the pause."""
    earlier = admission.admit(Purpose.READ)
    await earlier.__aenter__()
    await fail(admission, 1, limiting(30))
    await earlier.__aexit__(None, None, None)
    assert await refused_for(admission) == pytest.approx(30, abs=1)


async def test_failures_that_were_under_way_do_not_lengthen_the_pause(
    admission: AdmissionControl,
) -> None:
    """Twelve requests time out together: one outage, not one followed by seven failed probes."""

    async def time_out() -> None:
        async with admission.admit(Purpose.READ):
            await everyone.wait()
            raise down()

    everyone = asyncio.Barrier(13)
    under_way = [asyncio.create_task(time_out()) for _ in range(12)]
    await everyone.wait()
    await asyncio.gather(*under_way, return_exceptions=True)
    assert 1 < await refused_for(admission) <= 2.4


async def test_after_the_pause_one_probe_goes_and_nobody_else(admission: AdmissionControl) -> None:
    await fail(admission, 1, limiting(0.05))
    await until_open_again(admission)
    async with admission.admit(Purpose.READ):
        others = await asyncio.gather(*(ask(admission) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(other, UpstreamUnavailable) for other in others)
    await asyncio.gather(*(ask(admission) for _ in range(20)))  # it succeeded: all may go


async def test_a_probe_that_is_given_up_lets_the_next_one_go(admission: AdmissionControl) -> None:
    """The caller has disconnected, or another upstream was faster: the result is unknown."""

    async def probe() -> None:
        async with admission.admit(Purpose.READ):
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    await fail(admission, 1, limiting(0.05))
    await until_open_again(admission)
    probing = asyncio.create_task(probe())
    await entered.wait()
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    assert await refused_for(admission) == 0


async def test_people_are_told_when_to_come_again_if_the_budget_is_spent() -> None:
    admission = AdmissionControl("dream_machine", Rate(2, 60))
    await ask(admission)
    await ask(admission)
    with pytest.raises(
        UpstreamUnavailable, match="has reached its rate limit; retry in"
    ) as refusal:
        await ask(admission)
    assert refusal.value.retry_after == pytest.approx(60, abs=1)
    assert not refusal.value.from_upstream


async def test_a_spent_budget_is_no_failure_of_the_upstream() -> None:
    admission = AdmissionControl("dream_machine", Rate(1, 2.5))
    await ask(admission)
    refusals = await asyncio.gather(*(ask(admission) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(refusal, UpstreamUnavailable) for refusal in refusals)
    assert admission.available(Purpose.READ) == 0
    await until_open_again(admission)
    await ask(admission)


async def test_who_waited_for_room_finds_out_that_the_upstream_has_failed_meanwhile() -> None:
    admission = AdmissionControl("dream_machine", Rate(1, 0.2))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(admission.admit(Purpose.READ))
        waiting = asyncio.create_task(ask(admission))
        await asyncio.sleep(0)
        with pytest.raises(UpstreamUnavailable):
            async with stack:
                raise limiting(30)
    with pytest.raises(UpstreamUnavailable, match="is paused after failures; retry in"):
        await waiting


async def test_the_background_leaves_room_for_people() -> None:
    admission = AdmissionControl("dream_machine", Rate(10, 60))
    for _ in range(7):
        await ask(admission, purpose=Purpose.RECONCILE)
    assert (admission.available(Purpose.RECONCILE), admission.available(Purpose.VERIFY)) == (0, 1)
    assert admission.available(Purpose.READ) == 2
    await ask(admission)


@pytest.mark.parametrize(("limit", "left"), [(20, 20), (30, 30), (300, 30), (None, 30)])
async def test_the_upstream_s_own_limit_is_adopted_if_it_is_lower(
    limit: int | None, left: int
) -> None:
    admission = AdmissionControl("agents", Rate(30, 60, polled=True))
    error = UpstreamUnavailable("agents", "429", retry_after=0.01, from_upstream=True, limit=limit)
    await fail(admission, 1, error)
    await until_open_again(admission)
    assert admission.rate == Rate(left, 60, polled=True)
    assert admission.available(Purpose.RECONCILE) == left - 2  # one is kept for reads
