"""Long searches do not block other queries, and stop when their caller is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from sqlalchemy import Connection, Engine, text
from starlette.types import Message

from service.errors import StoreUnavailable
from service.storage.engine import Database, Dialect
from service.storage.engine.postgres import Postgres
from service.storage.engine.search_slots import SearchSlots
from service.storage.engine.sqlite import Sqlite
from service.web.responses.lists import unless_disconnected
from tests.databases import url_of

ENDLESS = {
    Dialect.SQLITE: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT max(i) FROM n",
    Dialect.POSTGRES: "SELECT max(a.i) FROM generate_series(1, 100000) AS a(i), "
    "generate_series(1, 1000000) AS b(i)",
}
BOUND = 5.0  # seconds, far less than any of those would take


@pytest.fixture(scope="module")
def url(engine: Engine) -> str:
    """The URL of a migrated database."""
    return url_of(engine)


@asynccontextmanager
async def opened(url: str, longest_search: float = 60.0) -> AsyncIterator[Database]:
    """Open the database with a timeout for searches, in seconds."""
    if url.startswith("sqlite"):
        made: Database = Sqlite(url, longest_search=longest_search)
    else:
        made = Postgres(url, url, longest_search=longest_search)
    async with made as database:
        yield database


@asynccontextmanager
async def searching(database: Database, times: int) -> AsyncIterator[None]:
    """Run endless searches until the block is left."""
    endless = ENDLESS[database.dialect]
    tasks = [asyncio.ensure_future(database.search(endless)) for _ in range(times)]
    await asyncio.sleep(0)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), BOUND)


def one(connection: Connection) -> int:
    """Run the smallest query."""
    return int(connection.execute(text("SELECT 1")).scalar_one())


async def test_sixteen_searches_stop_neither_writers_nor_small_questions(url: str) -> None:
    async with opened(url) as database, searching(database, 16), asyncio.timeout(BOUND):
        for _ in range(20):
            assert await database.write(one) == 1
            assert await database.read(one) == 1
            assert [tuple(row) for row in await database.fetch("SELECT 1 + 0")] == [(1,)]


async def test_a_search_ends_when_nobody_waits_for_it(url: str) -> None:
    async with opened(url) as database:
        async with searching(database, 16):
            pass  # all searches are cancelled here
        async with asyncio.timeout(BOUND):  # otherwise their slots would still be taken
            found = [await database.search("SELECT 1 + 0") for _ in range(16)]
    assert [[tuple(row) for row in rows] for rows in found] == [[(1,)]] * 16


async def test_a_search_that_is_cancelled_again_and_again_disturbs_no_other(url: str) -> None:
    # A server ignores a cancellation that overtakes the query; that must not cost a minute.
    async with opened(url) as database, asyncio.timeout(30):
        # All connections are open before: asyncpg complains if connecting is cancelled.
        await asyncio.gather(*(database.search_long("SELECT 1 + 0") for _ in range(3)))
        for _ in range(20):
            with anyio.move_on_after(0.02):  # cancels in each round of the loop
                await database.search(ENDLESS[database.dialect])
            found = await asyncio.gather(*(database.search_long("SELECT 1 + 0") for _ in range(3)))
            assert [tuple(row) for [row] in found] == [(1,)] * 3


@pytest.mark.postgres
async def test_a_search_that_nobody_waits_for_ends_on_the_server_as_well(url: str) -> None:
    watched = f"/* watched */ {ENDLESS[Dialect.POSTGRES]}"
    # A server ignores a cancellation before the query has begun; then its own timeout ends it.
    busy = """SELECT count(*) FROM pg_stat_activity WHERE query LIKE $1 AND state = 'active'
        AND clock_timestamp() - query_start > interval '200 ms'"""
    async with opened(url) as database:
        searching = asyncio.create_task(database.search(watched))
        async with asyncio.timeout(BOUND):
            while not (await database.fetch(busy, "/* watched%"))[0][0]:
                pass
        searching.cancel()
        async with asyncio.timeout(BOUND):
            while (await database.fetch(busy, "/* watched%"))[0][0]:
                pass


async def test_a_search_that_takes_too_long_is_ended_and_says_so(url: str) -> None:
    async with opened(url, longest_search=0.2) as database, asyncio.timeout(BOUND):
        with pytest.raises(StoreUnavailable, match=r"longer than 0\.2 s") as refused:
            await database.search(ENDLESS[database.dialect])
        assert "add a filter" in refused.value.hint
        assert [tuple(row) for row in await database.search("SELECT 1 + 0")] == [(1,)]


async def test_who_waits_too_long_for_a_turn_is_told_to_come_again() -> None:
    slots = SearchSlots(1, timeout=0.01)
    async with slots.slot():
        with pytest.raises(StoreUnavailable, match="Too many searches"):
            async with slots.slot():
                pass
    async with slots.slot():
        pass


@pytest.mark.sqlite
async def test_a_glance_that_turns_out_long_is_broken_off(url: str) -> None:
    async with opened(url) as database:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert database.fetch_nowait(ENDLESS[Dialect.SQLITE]) is None
        assert loop.time() - began < 1
        assert database.fetch_nowait("SELECT 1") == [(1,)]


async def test_work_for_who_has_gone_is_ended() -> None:
    ended = asyncio.Event()

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    async def leaves() -> Message:
        return {"type": "http.disconnect"}

    async with asyncio.timeout(BOUND):
        assert await unless_disconnected(work(), leaves) is None
    assert ended.is_set()


async def test_work_that_fails_late_says_why() -> None:
    failing = asyncio.Event()

    async def work() -> str:
        await failing.wait()
        raise StoreUnavailable("late")

    async def stays() -> Message:
        failing.set()  # the watcher is running: from here on the work fails late
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    with pytest.raises(StoreUnavailable, match="late"):
        await unless_disconnected(work(), stays)
