"""Backfill: what Luma lists and the tracker has never heard of is stored, with few requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.errors import InvalidInput, UpstreamRefused
from service.simulator import Fault, Luma, Plan
from service.storage.backfills import Walk
from service.tracking.backfill.walks import Backfill
from service.tracking.background import background
from service.tracking.callback_tokens import Grant
from tests.acceptance.storm import life_of
from tests.conftest import Clock
from tests.databases import execute, one

pytestmark = pytest.mark.thorough_on_postgres

FINISHED, ENDLESS = Plan(0, 0), Plan(0, 10**9)
LIST = "/dream-machine/v1/generations"
COUNT = "SELECT count(*) FROM generations"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a large request budget."""
    rates = {"dream_machine_rate": "1000/second", "agents_rate": "1000/second"}
    return settings.model_copy(update=rates)


@pytest.fixture
async def parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    async with open_parts(settings, clock) as opened:
        yield opened


@pytest.fixture
def backfill(parts: Parts) -> Backfill:
    return parts.tracker.backfill


def create(luma: Luma, count: int, plan: Plan = FINISHED) -> list[str]:
    """Create generations, a second apart; returns their ids, oldest first."""
    ids = []
    for _ in range(count):
        ids.append(luma.create(plan=plan))
        luma.advance(1)
    return ids


def counts(walk: Walk) -> tuple[str, int, int]:
    return walk.state, walk.seen, walk.new


async def newest(backfill: Backfill) -> Walk:
    """The walk that was started last."""
    walk = await backfill.newest()
    assert walk is not None
    return walk


async def until_requested(luma: Luma, count: int) -> None:
    """Wait until Luma has been asked for the n-th page, which it delays."""
    deadline = monotonic() + 15
    while luma.count("GET", LIST) < count:
        assert monotonic() < deadline
        await asyncio.sleep(0.002)


async def test_everything_that_luma_lists_is_stored_with_few_requests(
    backfill: Backfill, luma: Luma, settings: Settings
) -> None:
    ids = create(luma, 450)
    running = luma.create(plan=ENDLESS)
    walk = await backfill.complete()
    assert counts(walk) == ("done", 451, 451)
    assert walk.pages == luma.count("GET") == 5
    rows = execute(settings.database_url, "SELECT id, source, next_check_at FROM generations")
    assert {row[0] for row in rows} == {*ids, running}
    assert {row[1] for row in rows} == {"backfill"}
    assert [row[0] for row in rows if row[2]] == [running], "what is final is settled"


async def test_a_later_walk_stops_at_known_ground(backfill: Backfill, luma: Luma) -> None:
    create(luma, 350)
    await backfill.complete()
    create(luma, 5)
    before = luma.count("GET")
    assert counts(await backfill.complete()) == ("done", 190, 5)
    assert luma.count("GET") - before == 2
    assert counts(await backfill.complete()) == ("done", 100, 0)
    assert counts(await backfill.complete(everything=True)) == ("done", 355, 0)


async def test_what_callbacks_have_told_is_no_known_ground(
    parts: Parts, backfill: Backfill, luma: Luma
) -> None:
    """Some may have been lost, and what is older was never reported."""
    ids = create(luma, 250)
    for generation_id in ids[-150:]:
        for body in life_of(generation_id, "completed"):
            await parts.tracker.deliveries.receive(body, Grant())
    walk = await backfill.complete()
    assert counts(walk) == ("done", 250, 100)


async def test_a_walk_that_failed_makes_no_known_ground(backfill: Backfill, luma: Luma) -> None:
    create(luma, 250)
    luma.fault(Fault(delay=0.1))
    walking = asyncio.create_task(backfill.complete())
    await until_requested(luma, 1)
    luma.fault(Fault(status=401))
    with pytest.raises(UpstreamRefused):
        await walking
    assert (await newest(backfill)).new == 100
    assert counts(await backfill.complete()) == ("done", 250, 150)


async def test_since_walks_past_known_ground_to_that_time(backfill: Backfill, luma: Luma) -> None:
    create(luma, 150)
    half = await backfill.complete(since="2026-05-30T12:36:06.236Z")
    assert counts(half) == ("done", 80, 80)
    create(luma, 150)
    again = await backfill.complete(since="2026-05-30T12:36:06.236Z")
    assert counts(again) == ("done", 230, 150)
    assert counts(await backfill.complete(since="2030-01-01")) == ("done", 0, 0)
    assert counts(await backfill.complete()) == ("done", 300, 70), "that made no known ground"


async def test_a_relative_time_counts_from_now(
    backfill: Backfill, luma: Luma, clock: Clock
) -> None:
    create(luma, 30)
    clock.turn(35 * 60 + 6.236)  # 10 s after the first
    assert counts(await backfill.complete(since="-0s")) == ("done", 20, 20)


async def test_a_claim_that_the_list_confirms_is_verified(
    parts: Parts, backfill: Backfill, luma: Luma
) -> None:
    [generation_id] = create(luma, 1)
    body = {**luma.body(generation_id), "prompt": "?"}
    await parts.tracker.deliveries.receive(json.dumps(body).encode(), Grant())
    assert counts(await backfill.complete()) == ("done", 1, 0)
    generation = (await parts.tracker.lookup(generation_id)).generation
    assert generation.verified


@pytest.mark.parametrize(
    "removed",
    [
        range(0, 400, 2),
        *(pytest.param(r, marks=pytest.mark.thorough) for r in (range(100), range(300), [99])),
    ],
)
async def test_what_is_removed_between_two_pages_hides_nothing(
    backfill: Backfill, luma: Luma, settings: Settings, removed: Sequence[int]
) -> None:
    """Offsets shift up: without the overlap, what moved past the offset would be skipped."""
    ids = create(luma, 450)[::-1]
    gone = {ids[place] for place in removed}
    luma.fault(Fault(delay=0.15, times=None, method="GET"))
    walking = asyncio.create_task(backfill.complete())
    await until_requested(luma, 3)
    async with httpx.AsyncClient(headers={"Authorization": "Bearer k"}) as client:
        for generation_id in gone:
            await client.delete(f"{luma.dream_machine_url}/generations/{generation_id}")
    luma.clear_faults()
    walk = await walking
    stored = {id_ for (id_,) in execute(settings.database_url, "SELECT id FROM generations")}
    assert {*ids} - gone <= stored
    assert walk.new == len(stored)


async def test_what_arrives_between_two_pages_is_stored_once_and_hides_nothing(
    backfill: Backfill, luma: Luma, settings: Settings
) -> None:
    ids = create(luma, 320)
    luma.fault(Fault(delay=0.1, times=None))
    walking = asyncio.create_task(backfill.complete())
    for page, arriving in ((1, 30), (2, 250), (3, 95)):
        await until_requested(luma, page)
        create(luma, arriving)
    luma.clear_faults()
    walk = await walking
    stored = {id_ for (id_,) in execute(settings.database_url, "SELECT id FROM generations")}
    assert {*ids} <= stored
    assert walk.new == len(stored)
    assert walk.state == "done"


NO_LIST = {"detail": [1]}
SAME = {"generations": [{"id": "a"}, {"id": "b"}], "has_more": True}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=401, times=None), "LUMAAI_API_KEY"),
        (Fault(status=404, times=None), "no list"),
        (Fault(body=b"[]", times=None), "not with a list"),
        (Fault(body=json.dumps(NO_LIST).encode(), times=None), "not with a list"),
        (Fault(body=b"<html>", content_type="text/html", times=None), "not with a list"),
        (Fault(body=b'{"generations": [], "has_more": true}', times=None), "nothing readable"),
        (Fault(body=b'{"generations": [3], "has_more": true}', times=None), "nothing readable"),
        (Fault(body=json.dumps(SAME).encode(), times=None), "at every offset"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_what_luma_will_not_list_fails_soon_and_says_why(
    backfill: Backfill, luma: Luma, fault: Fault, reason: str
) -> None:
    luma.fault(fault)
    async with asyncio.timeout(12):
        with pytest.raises(UpstreamRefused, match=reason):
            await backfill.complete()
    walk = await newest(backfill)
    assert walk.state == "failed"
    assert walk.finished_at
    assert reason in str(walk.error)


async def test_a_list_that_goes_round_in_a_circle_is_left(backfill: Backfill, luma: Luma) -> None:
    for _ in range(30):
        for ids in ("abcd", "efgh", "ijkl"):
            body = {"generations": [{"id": each} for each in ids], "has_more": True}
            luma.fault(Fault(body=json.dumps(body).encode()))
    async with asyncio.timeout(12):
        with pytest.raises(UpstreamRefused, match="in a circle"):
            await backfill.complete()


async def test_an_api_without_a_list_says_so(backfill: Backfill) -> None:
    with pytest.raises(UpstreamRefused, match="may have no list"):
        await backfill.complete("agents")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=2),
        Fault(drop=True, times=2),
        Fault(status=429, headers={"Retry-After": "1"}, times=1),
    ],
    ids=["503", "dropped", "429"],
)
async def test_a_temporary_failure_is_retried(backfill: Backfill, luma: Luma, fault: Fault) -> None:
    create(luma, 3)
    luma.fault(fault)
    begun = monotonic()
    assert counts(await backfill.complete()) == ("done", 3, 3)
    if fault.headers:
        assert monotonic() - begun >= 1, "Retry-After is obeyed"


async def test_a_walk_waits_for_its_share_of_the_request_budget(
    settings: Settings, luma: Luma, clock: Clock
) -> None:
    create(luma, 340)
    small = settings.model_copy(update={"dream_machine_rate": "3/second"})
    async with open_parts(small, clock) as parts:
        begun = monotonic()
        assert counts(await parts.tracker.backfill.complete()) == ("done", 340, 340)
    assert monotonic() - begun >= 0.7


async def test_an_interrupted_walk_is_continued_where_it_was(
    settings: Settings, luma: Luma, clock: Clock
) -> None:
    create(luma, 450)
    luma.fault(Fault(delay=0.1, times=None))
    async with open_parts(settings, clock) as parts:
        walking = asyncio.create_task(parts.tracker.backfill.complete())
        await until_requested(luma, 3)
        walking.cancel()
        with suppress(asyncio.CancelledError):
            await walking
        assert (await newest(parts.tracker.backfill)).state == "running"
    luma.clear_faults()
    before = luma.count("GET")
    async with open_parts(settings, clock) as parts:
        with capture_logs() as logs:
            walk = await parts.tracker.backfill.complete(everything=False)
        assert counts(walk) == ("done", 450, 450)
    assert luma.count("GET") - before <= 3
    assert [each["event"] for each in logs] == ["backfill_continued"]


async def test_two_instances_do_not_walk_at_the_same_time(
    settings: Settings, luma: Luma, clock: Clock
) -> None:
    create(luma, 450)
    luma.fault(Fault(delay=0.05, times=None))
    async with open_parts(settings, clock) as first, open_parts(settings, clock) as second:
        both = [parts.tracker.backfill for parts in (first, second)]
        async with background(*(each.run for each in both)):
            started = await both[0].start()
            joined = await both[1].start(since="-1d")
            assert (joined.started_at, joined.since) == (started.started_at, None)
            ended = await asyncio.gather(*(until_ended(each) for each in both))
    assert {counts(walk) for walk in ended} == {("done", 450, 450)}
    assert luma.count("GET") == 5


async def until_ended(backfill: Backfill) -> Walk:
    deadline = monotonic() + 15
    while (walk := await newest(backfill)).state == "running":
        assert monotonic() < deadline
        await asyncio.sleep(0.01)
    return walk


async def test_a_walk_that_lost_its_lease_is_continued_by_another_and_counted_once(
    settings: Settings, luma: Luma, clock: Clock
) -> None:
    create(luma, 250)
    async with open_parts(settings, clock) as slow, open_parts(settings, clock) as other:
        luma.fault(Fault(delay=0.5))
        losing = asyncio.create_task(slow.tracker.backfill.complete())
        await until_requested(luma, 1)
        clock.turn(11)
        assert counts(await other.tracker.backfill.complete()) == ("done", 250, 250)
        assert counts(await losing) == ("done", 250, 250)
    assert one(settings.database_url, COUNT) == 250


async def test_who_wants_more_than_the_running_walk_reads_gets_it_afterwards(
    backfill: Backfill, luma: Luma
) -> None:
    create(luma, 120)
    await backfill.complete()
    await backfill.start()
    assert counts(await backfill.complete(everything=True)) == ("done", 120, 0)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"upstream": "sora"}, "upstream"),
        ({"upstream": ""}, "upstream"),
        ({"since": "soon"}, "since"),
        ({"since": ""}, "since"),
        ({"since": "-999999999w"}, "since"),
    ],
)
async def test_what_cannot_be_backfilled_is_invalid(
    backfill: Backfill, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await backfill.start(**given)
    assert caught.value.field == field
    assert await backfill.newest() is None


async def test_without_a_key_nothing_can_be_backfilled(settings: Settings, clock: Clock) -> None:
    keyless = settings.model_copy(update={"luma_api_key": None, "luma_agents_api_key": None})
    async with open_parts(keyless, clock) as parts:
        for upstream in (None, "agents"):
            with pytest.raises(InvalidInput) as caught:
                await parts.tracker.backfill.start(upstream)
            assert "LUMAAI_API_KEY" in caught.value.hint


async def test_the_length_of_a_list_is_estimated_with_few_requests(
    backfill: Backfill, luma: Luma
) -> None:
    for _ in range(3000):
        luma.create(plan=FINISHED)
    assert 3000 <= (await backfill.length("dream_machine") or 0) <= 3300
    assert luma.count("GET") < 12
    assert await backfill.length("agents") is None


async def test_what_ended_is_logged(backfill: Backfill, luma: Luma) -> None:
    luma.fault(Fault(status=401))
    with capture_logs() as logs:
        async with background(backfill.run):
            await backfill.start()
            await until_ended(backfill)
            await backfill.start()
            await until_ended(backfill)
            async with asyncio.timeout(15):
                while logs[-1]["event"] != "backfill_finished":  # noqa: ASYNC110 - logged later
                    await asyncio.sleep(0.01)
    events = {each["event"]: each for each in logs}
    assert events["backfill_failed"]["log_level"] == "error"
    assert "401" in events["backfill_failed"]["reason"]
    assert events["backfill_finished"]["seen"] == 0
