"""The limit of the archive: what was copied first goes first, but nothing new and nothing open."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.simulator import Luma, ManualClock, Plan, Simulator
from tests.conftest import Clock

DAY = timedelta(days=1).total_seconds()


@pytest.fixture
def luma() -> Iterator[Luma]:
    with Simulator(clock=ManualClock(), serve_assets=True).running() as running:
        yield running


@pytest.fixture
async def parts(settings: Settings, clock: Clock, tmp_path: Path) -> AsyncIterator[Parts]:
    """The parts of a process that keeps a byte at most, unless it must keep more."""
    changed = {
        "archive": str(tmp_path / "kept"),
        "archive_max": "1B",
        "webhook_allow": "127.0.0.0/8",
    }
    values = {**settings.model_dump(), **changed}
    async with open_parts(Settings.model_validate(values), clock) as opened:
        yield opened


async def copied(parts: Parts, luma: Luma) -> str:
    """Copy the assets of a new generation."""
    assert parts.copier
    made = luma.create(plan=Plan(0, 0))
    await parts.tracker.lookup(made)
    await parts.tracker.archive.add_missing()
    await parts.copier.copy_due()
    return made


async def kept(parts: Parts, generation_id: str) -> set[str]:
    shown = (await parts.tracker.lookup(generation_id)).generation.archived
    return {*(shown or ())}


async def test_beyond_the_limit_the_oldest_go_but_nothing_new_and_nothing_that_is_read(
    parts: Parts, luma: Luma, clock: Clock, tmp_path: Path
) -> None:
    first = await copied(parts, luma)
    assert await kept(parts, first) == {"video", "image"}, "less than a day old"
    clock.turn(DAY + 60)
    video = await parts.tracker.archive.find(first, "video")
    assert video
    chunks = await parts.tracker.archive.open(video, 0, video.bytes)
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
