"""Background loops: they restart after a failure, and end with their context."""

import asyncio

import pytest

from service.tracking.background import background


async def test_loops_run_side_by_side_for_as_long_as_it_is_entered() -> None:
    running = [asyncio.Event(), asyncio.Event()]
    ended = list[int]()

    async def loop(n: int) -> None:
        running[n].set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(n)

    async def first() -> None:
        await loop(0)

    async def second() -> None:
        await loop(1)

    async with background(first, second):
        async with asyncio.timeout(5):
            await asyncio.gather(*(event.wait() for event in running))
        assert ended == []
    assert sorted(ended) == [0, 1]


async def test_it_waits_until_every_loop_has_put_its_things_away() -> None:
    put_away, running = False, asyncio.Event()

    async def tidy() -> None:
        nonlocal put_away
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # closing takes a moment
            put_away = True

    async with background(tidy):
        await running.wait()
    assert put_away


async def test_a_loop_that_fails_is_started_again_and_the_others_never_notice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    starts, again, steady_starts = 0, asyncio.Event(), 0

    async def weak() -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            again.set()
            await asyncio.Event().wait()
        raise LookupError("a bug of ours")

    async def steady() -> None:
        nonlocal steady_starts
        steady_starts += 1
        await asyncio.Event().wait()

    async with background(weak, steady, pause=0.1), asyncio.timeout(15):
        await again.wait()
    assert (starts, steady_starts) == (2, 1)
    assert "a bug of ours" in "".join(capsys.readouterr())


async def test_it_can_be_left_while_a_loop_is_down() -> None:
    failed = asyncio.Event()

    async def weak() -> None:
        failed.set()
        raise LookupError("a bug of ours")

    async with asyncio.timeout(3), background(weak):
        await failed.wait()


async def test_what_fails_inside_is_not_swallowed() -> None:
    async def quiet() -> None:
        await asyncio.Event().wait()

    with pytest.raises(LookupError, match="the user's"):
        async with background(quiet):
            raise LookupError("the user's")
