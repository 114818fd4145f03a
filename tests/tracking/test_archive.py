"""The archive: its limit, what is missing, and URLs that have died."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.domain.query import parse
from service.simulator import Fault, Luma, ManualClock, Plan, Simulator
from service.simulator.world import Upstream
from tests.conftest import Clock
from tests.databases import execute
from tests.waiting import until_async

DAY, HOUR = (timedelta(hours=hours).total_seconds() for hours in (24, 1))


@pytest.fixture
def luma() -> Iterator[Luma]:
    with Simulator(clock=ManualClock(), serve_assets=True).running() as running:
        yield running


@asynccontextmanager
async def opened(
    settings: Settings, clock: Clock, tmp_path: Path, **given: object
) -> AsyncIterator[Parts]:
    """The parts of a process with an archive."""
    changed: dict[str, object] = {
        "archive": str(tmp_path / "kept"),
        "webhook_allow": "127.0.0.0/8",
        **given,
    }
    values = {**settings.model_dump(), **changed}
    async with open_parts(Settings.model_validate(values), clock) as parts:
        yield parts


@pytest.fixture
async def parts(settings: Settings, clock: Clock, tmp_path: Path) -> AsyncIterator[Parts]:
    """The parts of a process that keeps a byte at most, unless it must keep more."""
    async with opened(settings, clock, tmp_path, archive_max="1B") as running:
        yield running


@pytest.fixture
async def unlimited(settings: Settings, clock: Clock, tmp_path: Path) -> AsyncIterator[Parts]:
    """The parts of a process that keeps everything."""
    async with opened(settings, clock, tmp_path) as running:
        yield running


async def copied(parts: Parts, luma: Luma, upstream: Upstream = "dream_machine") -> str:
    """Copy the assets of a new generation."""
    made = luma.create(plan=Plan(0, 0), upstream=upstream)
    await parts.tracker.lookup(made)
    await copy_missing(parts)
    return made


async def copy_missing(parts: Parts) -> None:
    assert parts.copier
    await parts.tracker.archive.add_missing()
    await parts.copier.copy_due()


async def missing(parts: Parts, query: str = "") -> dict[str, str | None]:
    """What is missing, and why."""
    found = await parts.tracker.archive.missing(100, parse(query))
    return {row["id"]: row["error"] for row in found}


async def kept(parts: Parts, generation_id: str) -> set[str]:
    shown = (await parts.tracker.lookup(generation_id)).generation.archived
    return {*(shown or ())}


async def until_all_is_kept(parts: Parts, generation_id: str) -> None:
    async with asyncio.timeout(10):
        while len(await kept(parts, generation_id)) < 2:  # noqa: ASYNC110 - as users look
            await asyncio.sleep(0.02)


async def test_beyond_the_limit_the_oldest_go_but_nothing_new_and_nothing_that_is_read(
    parts: Parts, luma: Luma, clock: Clock, tmp_path: Path
) -> None:
    first = await copied(parts, luma)
    assert await kept(parts, first) == {"video", "image"}, "less than a day old"
    clock.turn(DAY + 60)
    video = await parts.tracker.archive.find(first, "video")
    assert video
    chunks = await parts.tracker.archive.open(video, 0, video.bytes)
    assert chunks
    begun = await anext(chunks)

    second = await copied(parts, luma)

    assert await kept(parts, first) == {"video"}, "somebody is reading it"
    assert await kept(parts, second) == {"video", "image"}
    rest = [chunk async for chunk in chunks]
    assert len(begun) + sum(map(len, rest)) == video.bytes
    clock.turn(DAY + 60)
    third = await copied(parts, luma)
    assert [await kept(parts, each) for each in (first, second)] == [set(), set()]
    files = {path.name for path in (tmp_path / "kept").rglob("*.mp4")}
    assert len(files) == len(await kept(parts, third) & {"video"})
    standing = await parts.tracker.archive.standing()
    sizes = [path.stat().st_size for path in (tmp_path / "kept").rglob("*.*")]
    assert standing.bytes <= sum(sizes)
    requests = luma.count("GET", "/assets/")
    assert await missing(parts) == {}
    await copy_missing(parts)
    assert luma.count("GET", "/assets/") == requests, "what the limit has deleted stays deleted"


async def test_a_file_that_cannot_be_deleted_is_kept_and_tried_again(
    parts: Parts, luma: Luma, clock: Clock, tmp_path: Path
) -> None:
    first = await copied(parts, luma)
    clock.turn(DAY + 60)
    [video] = (tmp_path / "kept").rglob("*.mp4")
    aside = video.rename(tmp_path / "aside")
    (video / "in the way").mkdir(parents=True)  # a folder cannot be deleted as a file
    with capture_logs() as said:
        second = await copied(parts, luma)
    assert "cannot be written" in {one["event"]: one for one in said}["copy_failed"]["error"]
    assert "video" in await kept(parts, first)

    (video / "in the way").rmdir()
    video.rmdir()
    aside.rename(video)
    clock.turn(HOUR)
    await copied(parts, luma)
    assert await kept(parts, first) == set()
    assert not video.exists()
    assert await kept(parts, second) == {"video", "image"}


async def test_whoever_asks_for_what_is_missing_need_not_wait_for_the_next_try(
    unlimited: Parts, luma: Luma, clock: Clock
) -> None:
    luma.fault(Fault(status=500, times=None, path=".jpg"))
    made = await copied(unlimited, luma)
    for _ in range(4):
        clock.turn(HOUR)
        await copy_missing(unlimited)
    luma.clear_faults()
    await copy_missing(unlimited)
    assert await kept(unlimited, made) == {"video", "image"}


async def test_what_is_kept_in_part_is_missing_until_the_rest_is_there(
    unlimited: Parts, luma: Luma, clock: Clock
) -> None:
    luma.fault(Fault(status=500, times=None, path=".jpg"))
    made = await copied(unlimited, luma)
    other = await copied(unlimited, luma, "agents")
    assert await kept(unlimited, made) == {"video"}
    assert await missing(unlimited) == {made: "Answered 500."}
    assert await missing(unlimited, "upstream:agents") == {}
    assert await missing(unlimited, "upstream:dream_machine") == {made: "Answered 500."}
    luma.clear_faults()
    assert unlimited.copier
    await unlimited.copier.copy_due()
    assert await kept(unlimited, made) == {"video"}, "the next try is in 5 seconds"
    clock.turn(5)
    await unlimited.copier.copy_due()
    assert await kept(unlimited, made) == {"video", "image"}
    assert await kept(unlimited, other)
    assert await missing(unlimited) == {}


async def test_while_one_copy_takes_long_what_comes_later_is_copied(
    unlimited: Parts, luma: Luma
) -> None:
    assert unlimited.copier
    running = asyncio.create_task(unlimited.copier.run())
    luma.fault(Fault(delay=20, path=".mp4"))
    slow, quick = (luma.create(plan=Plan(0, 0)) for _ in range(2))
    await unlimited.tracker.lookup(slow)
    await until_async(lambda: luma.count("GET", ".mp4") == 1)
    await unlimited.tracker.lookup(quick)
    await until_all_is_kept(unlimited, quick)
    assert await kept(unlimited, slow) == set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_database_that_fails_for_a_while_ends_no_copy(
    unlimited: Parts, settings: Settings, luma: Luma
) -> None:
    assert unlimited.copier
    running = asyncio.create_task(unlimited.copier.run())
    luma.fault(Fault(answer_delay=2, path=".mp4"))
    made = luma.create(plan=Plan(0, 0))
    await unlimited.tracker.lookup(made)
    await until_async(lambda: luma.count("GET", ".mp4") == 1)
    execute(settings.database_url, "ALTER TABLE copies RENAME TO away")
    with capture_logs() as said:
        await unlimited.tracker.lookup(luma.create())  # so that it looks for more to copy
        await until_async(lambda: "database_failed" in [line["event"] for line in said])
    execute(settings.database_url, "ALTER TABLE away RENAME TO copies")
    await until_all_is_kept(unlimited, made)
    assert not running.done()
    assert luma.count("GET", ".mp4") == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_query_chooses_what_is_copied(unlimited: Parts, luma: Luma) -> None:
    video, image = (luma.create(each, plan=Plan(0, 0)) for each in ("video", "image"))
    for each in (video, image):
        await unlimited.tracker.lookup(each)
    assert await missing(unlimited) == {video: None, image: None}
    assert await unlimited.tracker.archive.add_missing(parse("operation:image")) == 1
    assert unlimited.copier
    await unlimited.copier.copy_due()
    assert (await kept(unlimited, video), await kept(unlimited, image)) == (set(), {"image"})


@pytest.mark.parametrize("status", [403, 410])
async def test_a_url_that_has_died_is_fetched_anew(
    unlimited: Parts, luma: Luma, status: int
) -> None:
    luma.fault(Fault(status=status, path=".mp4"))
    made = await copied(unlimited, luma)
    assert await kept(unlimited, made) == {"video", "image"}
    assert luma.count("GET", f"/dream-machine/v1/generations/{made}") == 2


async def test_a_url_that_has_expired_is_not_tried(
    unlimited: Parts, luma: Luma, clock: Clock
) -> None:
    made = luma.create(plan=Plan(0, 0), upstream="agents")
    await unlimited.tracker.lookup(made)
    luma.advance(2 * HOUR)
    clock.turn(2 * HOUR)
    await copy_missing(unlimited)
    assert await kept(unlimited, made)
    assert {seen.status for seen in luma.requests if "/assets/" in seen.path} == {200}


async def test_without_budget_a_copy_waits_and_that_is_no_try(
    settings: Settings, clock: Clock, luma: Luma, tmp_path: Path
) -> None:
    async with opened(settings, clock, tmp_path, dream_machine_rate="1/hour") as parts:
        luma.fault(Fault(status=410, path=".mp4"))
        made = await copied(parts, luma)
        [row] = await parts.tracker.archive.missing(100)
        assert (row["id"], row["tries"]) == (made, 0)
        assert row["next_at"] > clock()


async def test_what_luma_has_deleted_is_tried_no_longer(
    unlimited: Parts, luma: Luma, clock: Clock
) -> None:
    luma.fault(Fault(status=410, path=".mp4", times=None))
    made = await copied(unlimited, luma)
    assert await missing(unlimited) == {made: "Answered 410."}
    luma.fault(Fault(status=404, path="/generations/", times=None))
    assert unlimited.copier
    for _ in range(3):  # Luma must have said it more than once
        clock.turn(HOUR)
        await unlimited.copier.copy_due()
    assert (await unlimited.tracker.lookup(made)).generation.gone_at
    standing = await unlimited.tracker.archive.standing()
    assert (standing.waiting, standing.given_up) == (0, 0)
