"""Redirects to assets that are not kept: a URL that has died is fetched anew, at little cost."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.bootstrap import Parts
from service.config import Settings
from service.simulator import Fault, Luma, ManualClock, Plan, RequestSeen, Simulator
from service.simulator.world import Upstream
from service.tracking.archive.assets import urls_of
from service.tracking.archive.redirects import Recent
from service.tracking.callback_tokens import Grant
from tests.conftest import Clock
from tests.tracking.test_archive import opened

MINUTE = 60


@pytest.fixture
def luma() -> Iterator[Luma]:
    with Simulator(clock=ManualClock(), serve_assets=True).running() as running:
        yield running


@asynccontextmanager
async def without_archive(
    settings: Settings, clock: Clock, tmp_path: Path, **given: object
) -> AsyncIterator[Parts]:
    async with opened(settings, clock, tmp_path, archive=None, **given) as running:
        yield running


@pytest.fixture
async def parts(settings: Settings, clock: Clock, tmp_path: Path) -> AsyncIterator[Parts]:
    async with without_archive(settings, clock, tmp_path) as running:
        yield running


async def completed(parts: Parts, luma: Luma, upstream: Upstream = "dream_machine") -> str:
    """A generation that is known."""
    made = luma.create(plan=Plan(0, 0), upstream=upstream)
    await parts.tracker.lookup(made)
    return made


async def redirected(parts: Parts, generation_id: str, name: str = "video") -> str:
    """Where a reader is sent."""
    url = (await names(parts, generation_id))[name]
    found = (await parts.tracker.lookup(generation_id)).representation
    return await parts.tracker.archive.redirects.living(found, name, url)


async def names(parts: Parts, generation_id: str) -> dict[str, str]:
    """The URLs of a generation's assets by name."""
    shown = (await parts.tracker.lookup(generation_id)).generation
    return urls_of(shown.assets, shown.outputs)


def rename(luma: Luma, generation_id: str) -> str:
    """From now on, Luma names another URL of the video, which is returned."""
    body = luma.body(generation_id)
    renewed: str = body["assets"]["video"].replace(".mp4", "-renewed.mp4")
    body["assets"]["video"] = renewed
    path = f"/generations/{generation_id}"
    luma.fault(Fault(body=json.dumps(body).encode(), path=path, times=None))
    return renewed


def looks(luma: Luma) -> list[RequestSeen]:
    return [seen for seen in luma.requests if seen.path.startswith("/assets/")]


def asked(luma: Luma, generation_id: str) -> int:
    """How often Luma was asked about a generation."""
    return luma.count("GET", f"/dream-machine/v1/generations/{generation_id}")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_dead_url_leads_to_the_one_that_luma_names_now(
    parts: Parts, luma: Luma, status: int
) -> None:
    made = await completed(parts, luma)
    luma.fault(Fault(status=status, path="/assets/", times=None))
    renewed = rename(luma, made)
    assert {await redirected(parts, made) for _ in range(3)} == {renewed}
    assert (len(looks(luma)), asked(luma, made)) == (1, 2)
    assert looks(luma)[0].headers["range"] == "bytes=0-0"


async def test_many_readers_of_a_living_url_cost_one_look_a_minute(
    parts: Parts, luma: Luma, clock: Clock
) -> None:
    made = await completed(parts, luma)
    url = luma.body(made)["assets"]["video"]
    found = await asyncio.gather(*(redirected(parts, made) for _ in range(20)))
    assert {*found} == {url}
    assert await redirected(parts, made) == url
    assert (len(looks(luma)), asked(luma, made)) == (1, 1)
    clock.turn(MINUTE)
    await redirected(parts, made)
    assert len(looks(luma)) == 2
    clock.turn(-MINUTE)
    await redirected(parts, made)
    assert len(looks(luma)) == 3, "what is remembered of a later time is wrong"


async def test_a_dead_url_that_luma_still_names_is_asked_for_once_a_minute(
    parts: Parts, luma: Luma, clock: Clock
) -> None:
    made = await completed(parts, luma)
    url = luma.body(made)["assets"]["video"]
    luma.fault(Fault(status=410, path="/assets/", times=None))
    found = await asyncio.gather(*(redirected(parts, made) for _ in range(20)))
    assert {*found} == {url}
    assert (len(looks(luma)), asked(luma, made)) == (1, 2)
    clock.turn(MINUTE)
    assert await redirected(parts, made) == url
    assert (len(looks(luma)), asked(luma, made)) == (2, 3)


async def test_if_luma_cannot_be_asked_the_old_url_is_answered_and_the_next_reader_asks(
    parts: Parts, luma: Luma
) -> None:
    made = await completed(parts, luma)
    url = luma.body(made)["assets"]["video"]
    luma.fault(Fault(status=404, path="/assets/", times=None))
    luma.fault(Fault(status=500, path="/generations/", times=None))
    assert await redirected(parts, made) == url
    luma.clear_faults()
    luma.fault(Fault(status=404, path="/assets/", times=None))
    renewed = rename(luma, made)
    assert await redirected(parts, made) == renewed


async def test_a_spent_budget_is_no_error(
    settings: Settings, clock: Clock, tmp_path: Path, luma: Luma
) -> None:
    async with without_archive(settings, clock, tmp_path, dream_machine_rate="1/hour") as parts:
        made = await completed(parts, luma)
        luma.fault(Fault(status=410, path="/assets/", times=None))
        assert await redirected(parts, made) == luma.body(made)["assets"]["video"]
        assert asked(luma, made) == 1


@pytest.mark.parametrize("fault", [Fault(drop=True), Fault(delay=60), Fault(status=503)])
async def test_an_outage_of_the_server_asks_nothing_and_does_not_hold_the_reader(
    parts: Parts, luma: Luma, fault: Fault
) -> None:
    made = await completed(parts, luma)
    luma.fault(fault)
    async with asyncio.timeout(9):  # the dialler itself waits for 10 seconds
        assert await redirected(parts, made) == luma.body(made)["assets"]["video"]
    assert asked(luma, made) == 1


async def test_an_address_that_is_not_public_is_not_dialled(
    settings: Settings, clock: Clock, tmp_path: Path, luma: Luma
) -> None:
    async with without_archive(settings, clock, tmp_path, webhook_allow="") as parts:
        made = await completed(parts, luma)
        assert await redirected(parts, made) == luma.body(made)["assets"]["video"]
    assert (looks(luma), asked(luma, made)) == ([], 1)


async def test_nothing_is_dialled_that_expires_or_cannot_be_renewed(
    settings: Settings, clock: Clock, tmp_path: Path, luma: Luma
) -> None:
    async with without_archive(settings, clock, tmp_path) as parts:
        signed = await completed(parts, luma, "agents")
        assert "?" in await redirected(parts, signed)
        made = await completed(parts, luma)
    async with without_archive(settings, clock, tmp_path, luma_api_key=None) as keyless:
        await redirected(keyless, made)
    assert looks(luma) == []


async def test_what_only_a_callback_has_claimed_is_not_dialled(parts: Parts, luma: Luma) -> None:
    made = luma.create(plan=Plan(0, 0))
    await parts.tracker.deliveries.receive(json.dumps(luma.body(made)).encode(), Grant())
    assert await redirected(parts, made) == luma.body(made)["assets"]["video"]
    assert (looks(luma), asked(luma, made)) == ([], 0)


def test_what_is_remembered_is_bounded(clock: Clock) -> None:
    recent, keys = Recent(clock), [str(number) for number in range(10_000)]
    recent.add("first")
    assert "first" in recent
    for key in keys:
        recent.add(key)
    assert "first" not in recent
    assert 0 < sum(key in recent for key in keys) < 5_000
