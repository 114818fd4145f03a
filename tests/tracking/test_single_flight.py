"""One flight per key, and how long an absence is remembered."""

import asyncio

import pytest

from service.errors import NotFound
from service.tracking.single_flight import NegativeCache, SingleFlight
from tests.conftest import Clock


class Journey:
    """A call that counts its starts and ends when it is told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.starts = 0
        self.go = asyncio.Event()
        self._failure = failure

    async def __call__(self) -> int:
        self.starts += 1
        number = self.starts
        await self.go.wait()
        if self._failure:
            raise self._failure
        return number


async def joined(
    flights: SingleFlight[int], journey: Journey, times: int
) -> list[asyncio.Task[int]]:
    """That many callers who wait for it."""
    callers = [asyncio.create_task(flights.join("a", journey)) for _ in range(times)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return callers


async def test_everyone_who_asks_meanwhile_shares_one_flight() -> None:
    flights, journey = SingleFlight[int](), Journey()
    callers = await joined(flights, journey, 50)
    journey.go.set()
    assert await asyncio.gather(*callers) == [1] * 50
    assert journey.starts == 1


async def test_whoever_asks_afterwards_gets_a_flight_of_their_own() -> None:
    flights, journey = SingleFlight[int](), Journey()
    journey.go.set()
    assert [await flights.join("a", journey) for _ in range(3)] == [1, 2, 3]


async def test_different_keys_fly_beside_one_another() -> None:
    flights, journey = SingleFlight[int](), Journey()
    one = flights.launch("a", journey)
    other = flights.launch("b", journey)
    journey.go.set()
    assert [await one, await other] == [1, 2]


async def test_a_caller_who_leaves_does_not_end_the_flight() -> None:
    flights, journey = SingleFlight[int](), Journey()
    first, *others = await joined(flights, journey, 3)
    first.cancel()
    await asyncio.wait([first])
    journey.go.set()
    assert await asyncio.gather(*others) == [1, 1]
    assert first.cancelled()


async def test_a_flight_lands_even_when_all_have_left() -> None:
    flights, journey = SingleFlight[int](), Journey()
    callers = await joined(flights, journey, 2)
    flight = flights.launch("a", journey)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    journey.go.set()
    assert await flight == 1


async def test_a_failure_reaches_everyone_and_is_not_kept() -> None:
    flights, journey = SingleFlight[int](), Journey(LookupError("lost"))
    callers = await joined(flights, journey, 3)
    journey.go.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["lost"] * 3
    with pytest.raises(LookupError):
        await flights.join("a", journey)
    assert journey.starts == 2


async def test_closing_ends_what_still_flies() -> None:
    flights, journey = SingleFlight[int](), Journey()
    (caller,) = await joined(flights, journey, 1)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await flights.close()


def absent(absences: NegativeCache, key: str) -> str | None:
    """What is remembered of the key."""
    try:
        absences.check(key)
    except NotFound as absence:
        return f"{absence} {absence.hint}"
    return None


def test_an_absence_is_told_again_for_five_seconds(clock: Clock) -> None:
    absences = NegativeCache(clock)
    assert absent(absences, "a") is None
    absences.add("a", NotFound("never heard of a", "look again"))
    assert absent(absences, "a") == "never heard of a look again"
    assert absent(absences, "b") is None
    clock.turn(4.999)
    assert absent(absences, "a") == "never heard of a look again"
    clock.turn(0.001)
    assert absent(absences, "a") is None


def test_asking_does_not_make_an_absence_last(clock: Clock) -> None:
    absences = NegativeCache(clock)
    absences.add("a", NotFound("no"))
    for _ in range(4):
        clock.turn(1)
        assert absent(absences, "a")
    clock.turn(1)
    assert absent(absences, "a") is None


def test_being_told_again_does(clock: Clock) -> None:
    absences = NegativeCache(clock)
    absences.add("a", NotFound("no"))
    clock.turn(4)
    absences.add("a", NotFound("still no"))
    clock.turn(4)
    assert absent(absences, "a")


def test_absences_do_not_grow_without_end(clock: Clock) -> None:
    absences = NegativeCache(clock)
    for n in range(10_001):
        absences.add(str(n), NotFound("no"))
    assert absent(absences, "0") is None
    assert absent(absences, "10000")
