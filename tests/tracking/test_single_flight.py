"""Single-flight execution, and the lifetime of negative cache entries."""

import asyncio

import pytest

from service.errors import NotFound
from service.tracking.single_flight import NegativeCache, SingleFlight
from tests.conftest import Clock


class Call:
    """A call that counts its starts, and ends when `go` is set."""

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
    single_flight: SingleFlight[int], call: Call, times: int
) -> list[asyncio.Task[int]]:
    """Start callers that join the call."""
    callers = [asyncio.create_task(single_flight.join("a", call)) for _ in range(times)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return callers


async def test_everyone_who_asks_meanwhile_shares_one_flight() -> None:
    single_flight, call = SingleFlight[int](), Call()
    callers = await joined(single_flight, call, 50)
    call.go.set()
    assert await asyncio.gather(*callers) == [1] * 50
    assert call.starts == 1


async def test_whoever_asks_afterwards_gets_a_flight_of_their_own() -> None:
    single_flight, call = SingleFlight[int](), Call()
    call.go.set()
    assert [await single_flight.join("a", call) for _ in range(3)] == [1, 2, 3]


async def test_different_keys_fly_beside_one_another() -> None:
    single_flight, call = SingleFlight[int](), Call()
    one = single_flight.launch("a", call)
    other = single_flight.launch("b", call)
    call.go.set()
    assert [await one, await other] == [1, 2]


async def test_a_caller_who_leaves_does_not_end_the_flight() -> None:
    single_flight, call = SingleFlight[int](), Call()
    first, *others = await joined(single_flight, call, 3)
    first.cancel()
    await asyncio.wait([first])
    call.go.set()
    assert await asyncio.gather(*others) == [1, 1]
    assert first.cancelled()


async def test_a_flight_lands_even_when_all_have_left() -> None:
    single_flight, call = SingleFlight[int](), Call()
    callers = await joined(single_flight, call, 2)
    flight = single_flight.launch("a", call)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    call.go.set()
    assert await flight == 1


async def test_a_failure_reaches_everyone_and_is_not_kept() -> None:
    single_flight, call = SingleFlight[int](), Call(LookupError("lost"))
    callers = await joined(single_flight, call, 3)
    call.go.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["lost"] * 3
    with pytest.raises(LookupError):
        await single_flight.join("a", call)
    assert call.starts == 2


async def test_closing_ends_what_still_flies() -> None:
    single_flight, call = SingleFlight[int](), Call()
    (caller,) = await joined(single_flight, call, 1)
    await single_flight.close()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await single_flight.close()


def absent(negative_cache: NegativeCache, key: str) -> str | None:
    """Return the text of the remembered error; None if there is no entry."""
    try:
        negative_cache.check(key)
    except NotFound as error:
        return f"{error} {error.hint}"
    return None


def test_an_absence_is_told_again_for_five_seconds(clock: Clock) -> None:
    negative_cache = NegativeCache(clock)
    assert absent(negative_cache, "a") is None
    negative_cache.add("a", NotFound("never heard of a", "look again"))
    assert absent(negative_cache, "a") == "never heard of a look again"
    assert absent(negative_cache, "b") is None
    clock.turn(4.999)
    assert absent(negative_cache, "a") == "never heard of a look again"
    clock.turn(0.001)
    assert absent(negative_cache, "a") is None


def test_asking_does_not_make_an_absence_last(clock: Clock) -> None:
    negative_cache = NegativeCache(clock)
    negative_cache.add("a", NotFound("no"))
    for _ in range(4):
        clock.turn(1)
        assert absent(negative_cache, "a")
    clock.turn(1)
    assert absent(negative_cache, "a") is None


def test_being_told_again_does(clock: Clock) -> None:
    negative_cache = NegativeCache(clock)
    negative_cache.add("a", NotFound("no"))
    clock.turn(4)
    negative_cache.add("a", NotFound("still no"))
    clock.turn(4)
    assert absent(negative_cache, "a")


def test_absences_do_not_grow_without_end(clock: Clock) -> None:
    negative_cache = NegativeCache(clock)
    for n in range(10_001):
        negative_cache.add(str(n), NotFound("no"))
    assert absent(negative_cache, "0") is None
    assert absent(negative_cache, "10000")
