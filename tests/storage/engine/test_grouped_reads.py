"""Grouped reads: concurrent callers share a query, and no result is older than the call."""

import asyncio
from collections.abc import Mapping

from service.storage.engine import GroupedReads


class Table:
    """Returns values once it is released, and records the keys of each query."""

    def __init__(self) -> None:
        self.values = {"a": 1, "b": 2}
        self.asked: list[set[str]] = []
        self.free = asyncio.Event()

    async def read(self, keys: list[str]) -> Mapping[str, int]:
        self.asked.append({*keys})
        found = {key: self.values[key] for key in keys if key in self.values}
        await self.free.wait()
        return found


async def test_whoever_asks_while_a_question_is_under_way_shares_the_next() -> None:
    table = Table()
    reads = GroupedReads(table.read)
    asking = [asyncio.create_task(reads.get(key)) for key in "a"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking += [asyncio.create_task(reads.get(key)) for key in "ab" * 50 + "c"]
    await asyncio.sleep(0)
    table.free.set()

    assert await asyncio.gather(*asking) == [1] + [1, 2] * 50 + [None]
    assert table.asked == [{"a"}, {"a", "b", "c"}]


async def test_nobody_is_answered_from_before_the_question() -> None:
    table = Table()
    reads = GroupedReads(table.read)
    first = asyncio.create_task(reads.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    table.values["a"] = 7  # while the first query is running
    second = asyncio.create_task(reads.get("a"))
    await asyncio.sleep(0)
    table.free.set()

    assert (await first, await second) == (1, 7)


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    table = Table()
    reads = GroupedReads(table.read)
    leaving, staying = (asyncio.create_task(reads.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    table.free.set()

    assert await staying == 1
    assert await reads.get("b") == 2


async def test_a_failure_is_told_to_all_who_asked_and_to_nobody_after() -> None:
    failing = True

    async def read(keys: list[str]) -> Mapping[str, int]:
        if failing:
            raise OSError("gone")
        return dict.fromkeys(keys, 1)

    reads = GroupedReads(read)
    told = await asyncio.gather(*(reads.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in told] == [OSError] * 3
    failing = False
    assert await reads.get("a") == 1


async def test_a_question_has_a_bounded_number_of_keys() -> None:
    table = Table()
    table.free.set()
    reads = GroupedReads(table.read)
    await asyncio.gather(*(reads.get(str(n)) for n in range(1_200)))
    assert [len(keys) for keys in table.asked] == [500, 500, 200]
