"""The events of all generations: read, waited for and followed, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any, cast

import pytest

from service.config import Settings
from service.domain.generation import Observation, Source
from service.domain.merge import merge
from service.storage import events, migrating
from service.storage.engine import Database, open_database
from service.tracking.cache import Cache
from service.tracking.changes import Changes
from service.tracking.history import History
from service.tracking.observe import ReceivedObservation, observe
from tests.conftest import Clock
from tests.databases import execute
from tests.reference import representation_of

SOON = 10.0  # seconds; no step here may take longer
STATES = ("queued", "dreaming", "completed")


class Store:
    """A separate connection, for writes as by another process."""

    def __init__(self, database: Database, url: str, clock: Clock) -> None:
        self.database = database
        self.url = url
        self._clock = clock

    async def store(self, generation_id: str, *states: str) -> None:
        for state in states or ("queued",):
            seen = Observation(
                id=generation_id, upstream="agents", source=Source.FETCH, state=state
            )
            await self.database.write_all(observe, ReceivedObservation(seen, self._clock()))

    async def rename(self, before: str, after: str) -> None:
        """In a thread: it waits for a read of this loop to end."""
        await asyncio.to_thread(execute, self.url, f"ALTER TABLE {before} RENAME TO {after}")

    async def forget(self) -> None:
        """Delete all events, as the retention does."""
        before = self._clock() + timedelta(days=1)
        await self.database.write(events.prune, before, 1000)


@pytest.fixture
async def others(settings: Settings, clock: Clock) -> AsyncIterator[Store]:
    async with open_database(settings.database_url) as database:
        await database.exclusively(migrating.upgrade)
        yield Store(database, settings.database_url, clock)


@pytest.fixture
async def changes(others: Store, settings: Settings) -> AsyncIterator[Changes]:
    """The changes of an instance that learns of writes only through the database."""
    async with open_database(settings.database_url) as database:
        made = Changes(database, Cache(0))
        yield made
        await made.close()


@pytest.fixture
def history(others: Store, changes: Changes) -> History:
    return History(others.database, changes, Cache(0))


async def seqs(history: History, after: int, limit: int = 100) -> list[int]:
    return [event.seq for event in (await history.after(after, limit)).events]


async def test_all_changes_are_in_one_order(history: History, others: Store) -> None:
    await asyncio.gather(*(others.store(f"g{n}", *STATES) for n in range(5)))
    events = (await history.after(0, 100)).events
    assert len(events) == 15
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    for n in range(5):
        assert [e.to_state for e in events if e.generation_id == f"g{n}"] == [*STATES]


async def test_a_part_begins_behind_the_number_that_was_seen(
    history: History, others: Store
) -> None:
    await others.store("a", *STATES)
    first, second, third = await seqs(history, 0)
    assert await seqs(history, first, limit=1) == [second]
    assert await seqs(history, second) == [third]
    assert await seqs(history, third) == []
    assert await seqs(history, 2**63 - 1) == []
    assert await history.newest() == third


async def test_a_history_of_nothing_is_empty(history: History) -> None:
    assert await seqs(history, 0) == []
    assert await history.newest() == 0


async def test_a_wait_is_over_at_once_if_there_is_something(
    history: History, others: Store
) -> None:
    await others.store("a")
    async with asyncio.timeout(SOON):
        assert len((await history.wait(0, 100, 3600)).events) == 1


async def test_a_wait_is_over_when_another_instance_writes(history: History, others: Store) -> None:
    async with asyncio.timeout(SOON):
        waiting = asyncio.create_task(history.wait(0, 100, 3600))
        await others.store("a")
        assert [event.generation_id for event in (await waiting).events] == ["a"]


class Interrupted:
    """A database that runs `happens` at the end of its second read, before the result is used."""

    def __init__(self, database: Database, happens: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._happens = happens
        self._reads = 0

    async def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        found = await self._database.read(fn, *args)
        self._reads += 1
        if self._reads == 2:
            await self._happens()
        return found


async def test_what_happens_while_one_looks_is_not_overlooked(
    others: Store, changes: Changes
) -> None:
    async def happens() -> None:
        await others.store("a")
        await changes.close()  # so that no second notification follows
        changes.notify("a")

    history = History(cast("Database", Interrupted(others.database, happens)), changes, Cache(0))
    async with asyncio.timeout(SOON):
        assert len((await history.wait(0, 100, 3600)).events) == 1


class Counted:
    """A database that notes how many reads it was asked for at the same time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = self.most = 0

    async def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._database.read(fn, *args)
        finally:
            self._now -= 1


async def test_many_followers_that_are_far_behind_leave_the_database_to_others(
    others: Store, changes: Changes
) -> None:
    await others.store("a", *STATES)
    counted = Counted(others.database)
    history = History(cast("Database", counted), changes, Cache(0))
    async with asyncio.timeout(SOON):
        assert await asyncio.gather(*(_until(history, 0, 3) for _ in range(40))) == [[1, 2, 3]] * 40
    assert 1 <= counted.most <= 4


async def test_a_wait_that_runs_out_has_nothing(history: History, others: Store) -> None:
    await others.store("a")
    assert (await history.wait(await history.newest(), 100, 0.1)).events == []


async def test_who_waits_is_let_go_when_we_stop(history: History, changes: Changes) -> None:
    async with asyncio.timeout(SOON):
        waiting = asyncio.create_task(history.wait(0, 100, 3600))
        following = asyncio.create_task(_collected(history, 0))
        await asyncio.sleep(0)
        history.stop_waiting()
        changes.notify_all()
        assert (await waiting).events == []
        assert await following == []


async def _collected(history: History, after: int) -> list[int]:
    return [e.seq async for part in history.follow(after, 3600) for e in part.events]


async def test_a_follower_misses_nothing_and_sees_nothing_twice(
    history: History, others: Store
) -> None:
    async with asyncio.timeout(SOON * 3):
        following = asyncio.create_task(_until(history, 0, 900))
        await asyncio.gather(*(others.store(f"g{n}", *STATES) for n in range(300)))
        assert await following == await seqs(history, 0, 1000) == list(range(1, 901))


async def _until(history: History, after: int, newest: int) -> list[int]:
    """Return what a follower receives after `after`, up to `newest`."""
    seen: list[int] = []
    async with aclosing(history.follow(after, 3600)) as parts:
        async for part in parts:
            seen += [event.seq for event in part.events]
            if seen[-1] >= newest:
                break
    return seen


async def test_a_slow_follower_is_given_a_bounded_part(history: History, others: Store) -> None:
    await asyncio.gather(*(others.store(f"g{n}") for n in range(450)))
    sizes = []
    async for part in history.follow(0, 0.1):
        sizes.append(len(part.events))
        if not part.events:
            break
    assert sizes == [200, 200, 50, 0]


async def test_a_quiet_time_is_told_again_and_again(history: History) -> None:
    async with asyncio.timeout(SOON):
        parts = history.follow(0, 0.05)
        assert [(await anext(parts)).events for _ in range(3)] == [[], [], []]


async def test_a_database_that_fails_for_a_while_ends_no_following(
    history: History, others: Store
) -> None:
    await others.store("a")
    async with asyncio.timeout(SOON * 2):
        parts = history.follow(0, 3600)
        assert [e.generation_id for e in (await anext(parts)).events] == ["a"]
        await others.rename("events", "away")
        assert (await anext(parts)).events == []
        await others.rename("away", "events")
        await others.store("b")
        found: list[events.Event] = []
        while not found:
            found = (await anext(parts)).events
        assert [e.generation_id for e in found] == ["b"]


async def test_what_has_gone_with_the_retention_is_told_to_whom_it_concerns(
    history: History, others: Store
) -> None:
    await others.store("a", *STATES)
    newest = await history.newest()
    await others.forget()
    await others.store("b", *STATES)

    told = {after: (await history.after(after, 10)).missed for after in range(newest + 2)}

    assert [after for after, missed in told.items() if missed] == [1, 2]  # 3 was the last to go
    assert await seqs(history, 1) == [4, 5, 6], "what is kept is given all the same"


async def test_a_number_that_was_never_given_is_not_missed(history: History, others: Store) -> None:
    await others.store("a", *STATES)
    execute(others.url, "DELETE FROM events WHERE seq = 2")
    assert not (await history.after(1, 10)).missed


async def test_who_is_shown_a_change_is_not_answered_with_what_was_before(
    others: Store, changes: Changes, clock: Clock
) -> None:
    cache = Cache(1_000_000)
    cache.mark_current(3600)
    seen = Observation(id="a", upstream="agents", source=Source.FETCH)
    before, _ = merge(None, seen, clock())
    cache.put(representation_of(before._replace(rev=0)))
    assert cache.get("a")
    await others.store("a")
    await History(others.database, changes, cache).after(0, 10)
    assert cache.get("a") is None
