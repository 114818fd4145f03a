"""Waking those who wait: by name in this process, by the database's version for the others."""

import asyncio

import pytest

from service.changes import Changes
from service.errors import StoreUnavailable


class Version:
    """A database's version, as far as those who wait can see."""

    def __init__(self) -> None:
        self.now = 1
        self.looks = 0
        self.fails = False
        self.looked = asyncio.Event()

    async def __call__(self) -> int:
        self.looks += 1
        self.looked.set()
        if self.fails:
            raise StoreUnavailable("locked")
        return self.now

    async def look(self) -> None:
        """Until it has been looked at, and what was seen has been told."""
        self.looked.clear()
        async with asyncio.timeout(5):
            await self.looked.wait()
        await asyncio.sleep(0)


async def test_a_change_wakes_those_who_wait_for_it_and_nobody_else() -> None:
    version = Version()
    changes = Changes(version)
    with changes.expect("a") as one, changes.expect("a") as two, changes.expect("b") as other:
        await version.look()  # the first look wakes all, for nobody knows what it was before
        for event in (one, two, other):
            event.clear()
        changes.tell("a")
        assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)
    await changes.close()


async def test_a_change_that_nobody_waits_for_is_forgotten() -> None:
    changes = Changes(Version())
    changes.tell("a")
    with changes.expect("a") as event:
        assert not event.is_set()
    await changes.close()


async def test_a_new_version_wakes_everyone_and_the_same_one_nobody() -> None:
    version = Version()
    changes = Changes(version)
    with changes.expect("a") as one, changes.expect("b") as other:
        await version.look()
        one.clear()
        other.clear()
        await version.look()
        await version.look()
        assert not one.is_set()
        version.now += 1
        await version.look()
        assert one.is_set()
        assert other.is_set()
    await changes.close()


async def test_the_version_is_looked_at_only_while_somebody_waits() -> None:
    version = Version()
    changes = Changes(version)
    await asyncio.sleep(0)
    assert version.looks == 0
    with changes.expect("a"):
        await version.look()
    watching = [task for task in asyncio.all_tasks() if task.get_name() == "watch-changes"]
    await asyncio.wait(watching, timeout=5)
    seen = version.looks
    assert all(task.done() for task in watching)
    with changes.expect("a"):
        await version.look()
        assert version.looks > seen, "and again when somebody comes back"
    await changes.close()


async def test_one_watch_serves_all_who_wait() -> None:
    version = Version()
    changes = Changes(version)
    with changes.expect("a"), changes.expect("b"):
        await version.look()
        watching = [task for task in asyncio.all_tasks() if task.get_name() == "watch-changes"]
        assert len(watching) == 1
    await changes.close()


async def test_a_database_that_fails_for_a_while_wakes_and_does_not_end_the_watch() -> None:
    version = Version()
    changes = Changes(version)
    with changes.expect("a") as event:
        await version.look()
        event.clear()
        version.fails = True
        await version.look()
        assert event.is_set(), "whoever waits finds out when it reads"
        event.clear()
        version.fails = False
        await version.look()
        assert event.is_set()
    await changes.close()


async def test_closing_ends_the_watch() -> None:
    version = Version()
    changes = Changes(version)
    await changes.close()
    with changes.expect("a"):
        await version.look()
        await changes.close()
        seen = version.looks
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await version.look()
    assert version.looks == seen
