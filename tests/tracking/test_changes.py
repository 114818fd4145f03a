"""Change notification: directly in this process, through the events table from others."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from service.config import Settings
from service.domain.generation import Observation, Source
from service.domain.merge import merge
from service.storage import migrating
from service.storage.engine import Database, open_database
from service.tracking.cache import Cache
from service.tracking.changes import Changes
from service.tracking.observe import ReceivedObservation, observe
from tests.conftest import Clock
from tests.reference import representation_of
from tests.waiting import until_async


class Others:
    """Another process on the same database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def store(self, generation_id: str, state: str = "queued") -> None:
        seen = Observation(id=generation_id, upstream="agents", source=Source.FETCH, state=state)
        await self._database.write_all(observe, ReceivedObservation(seen, self._clock()))

    async def rename(self, before: str, after: str) -> None:
        await self._database.write(
            lambda c: c.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))
        )


@pytest.fixture
def cache() -> Cache:
    return Cache(1_000_000)


@pytest.fixture
async def changes(settings: Settings, cache: Cache) -> AsyncIterator[Changes]:
    """The object under test, with its own connection."""
    async with open_database(settings.database_url) as database:
        await database.exclusively(migrating.upgrade)
        made = Changes(database, cache)
        yield made
        await made.close()


@pytest.fixture
async def others(changes: Changes, settings: Settings, clock: Clock) -> AsyncIterator[Others]:
    async with open_database(settings.database_url) as database:
        yield Others(database, clock)


async def notified(event: asyncio.Event) -> None:
    """Wait until the event is set, and clear it."""
    async with asyncio.timeout(5):
        await event.wait()
    event.clear()


async def test_a_change_wakes_those_who_wait_for_it_and_nobody_else(changes: Changes) -> None:
    with (
        changes.subscribe("a") as one,
        changes.subscribe("a") as two,
        changes.subscribe("b") as other,
    ):
        for event in (one, two, other):
            await notified(event)  # at the start all are notified
        changes.notify("a")
        assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)


async def test_who_waits_for_any_is_woken_by_all(changes: Changes) -> None:
    with changes.subscribe(Changes.ANY) as any_:
        await notified(any_)
        changes.notify("a")
        await notified(any_)
        changes.notify("b")
        await notified(any_)


async def test_a_change_that_nobody_waits_for_is_forgotten(changes: Changes) -> None:
    changes.notify("a")
    with changes.subscribe("a") as event:
        assert not event.is_set()


async def test_what_another_process_has_heard_wakes_those_who_wait_for_it(
    changes: Changes, others: Others
) -> None:
    with changes.subscribe("a") as one, changes.subscribe("b") as other:
        await notified(one)
        await notified(other)
        await others.store("a")
        await notified(one)
        await others.store("a")
        await others.store("b")
        await notified(other)
        assert not one.is_set(), "it has not changed"


async def test_many_changes_at_once_all_arrive(changes: Changes, others: Others) -> None:
    with changes.subscribe("last") as last:
        await notified(last)
        async with asyncio.TaskGroup() as group:
            for n in range(1500):
                group.create_task(others.store(f"g{n}"))
        await others.store("last")
        await notified(last)


async def test_the_history_is_followed_from_the_first_question_on_by_one_for_all(
    changes: Changes, others: Others
) -> None:
    def following() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "follow-changes"]

    assert following() == []
    with changes.subscribe("a") as one, changes.subscribe("b"):
        await notified(one)
        assert len(following()) == 1, "one for all"
    with changes.subscribe("a") as one:
        await others.store("a")
        await notified(one)
        assert len(following()) == 1


async def test_a_database_that_fails_for_a_while_wakes_and_does_not_end_the_watch(
    changes: Changes, others: Others
) -> None:
    with changes.subscribe("a") as event:
        await notified(event)
        await others.rename("events", "away")
        await notified(event)
        await others.rename("away", "events")
        while event.is_set() or not await _quiet(event):
            event.clear()
        await others.store("a")
        await notified(event)


# --- The cache -----------------------------------------------------------------------------------


@pytest.fixture
async def current_cache(changes: Changes, cache: Cache) -> Cache:
    """A cache that is current."""
    changes.start_following()
    await until_async(lambda: cache.is_current)
    return cache


def put(cache: Cache, generation_id: str) -> None:
    """Cache a generation as the result of a read."""
    seen = Observation(id=generation_id, upstream="agents", source=Source.FETCH)
    row, _ = merge(None, seen, datetime(2026, 5, 30, tzinfo=UTC))
    with cache.reading(generation_id) as reading:
        cache.put(representation_of(row), reading)


async def test_a_change_of_our_own_is_dropped_at_once(
    changes: Changes, current_cache: Cache
) -> None:
    put(current_cache, "a")
    put(current_cache, "b")
    changes.notify("a")
    assert current_cache.get("a") is None
    assert current_cache.get("b")


async def test_what_another_process_has_changed_is_dropped_soon(
    others: Others, current_cache: Cache
) -> None:
    await others.store("a")
    put(current_cache, "a")
    put(current_cache, "b")
    await others.store("a", "completed")
    await until_async(lambda: current_cache.get("a") is None)
    assert current_cache.get("b"), "the others stay"


async def test_nothing_in_memory_is_relied_on_while_the_history_cannot_be_read(
    others: Others, current_cache: Cache
) -> None:
    put(current_cache, "a")
    await others.rename("events", "away")
    await until_async(lambda: current_cache.get("a") is None)
    put(current_cache, "a")
    assert current_cache.get("a") is None
    await others.rename("away", "events")
    await until_async(lambda: current_cache.is_current)
    assert current_cache.get("a") is None, "changes may have been missed"
    put(current_cache, "a")
    assert current_cache.get("a")


async def _quiet(event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(0.3):
            await event.wait()
    except TimeoutError:
        return True
    return False
