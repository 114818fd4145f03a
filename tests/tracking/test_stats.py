"""What this process has answered and asked is added to the counters of all."""

import asyncio

from prometheus_client import REGISTRY

from service.bootstrap import Parts
from service.config import Settings
from service.simulator import Luma, Plan
from service.tracking.tracker import Tracker
from tests.databases import execute, locked
from tests.tracking.creating.test_creates import parts

__all__ = ["parts"]


async def totals(tracker: Tracker) -> tuple[int, int]:
    found = (await tracker.stats.read(None, "day")).totals
    return found.lookups, found.upstream_requests


def asked() -> float:
    """How many requests this process has made.

    Both upstreams are asked for an unknown id. When one knows it, the request to the other is
    given up, and may never arrive there.
    """
    metrics = (each for each in REGISTRY.collect() if each.name == "luma_tracker_upstream_requests")
    samples = (sample for metric in metrics for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def test_lookups_and_requests_are_counted_once(parts: Parts, luma: Luma) -> None:
    await parts.tracker.stats.record_usage()
    before, asked_before = await totals(parts.tracker), asked()
    made = luma.create(plan=Plan(0, 0))
    for _ in range(3):
        await parts.tracker.lookup(made)

    await parts.tracker.stats.record_usage()
    asked_since = asked() - asked_before
    await parts.tracker.stats.record_usage()

    lookups, requests = await totals(parts.tracker)
    assert (lookups - before[0], requests - before[1]) == (3, asked_since)
    assert asked_since >= luma.count("GET") >= 1
    assert await parts.tracker.stats.by_state() == {"completed": 1}


async def test_usage_is_counted_once_by_a_service_that_stops_meanwhile(
    parts: Parts, luma: Luma, settings: Settings
) -> None:
    stats = parts.tracker.stats
    await stats.record_usage()
    before, _ = await totals(parts.tracker)
    made = luma.create(plan=Plan(0, 0))
    for _ in range(3):
        await parts.tracker.lookup(made)
    with locked(settings.database_url):
        recording = asyncio.create_task(stats.record_usage())
        await asyncio.wait([recording], timeout=0.1)
        recording.cancel()
        await asyncio.wait([recording])
    await parts.tracker.lookup(made)
    await stats.record_usage()
    assert (await totals(parts.tracker))[0] - before == 4


async def test_a_recount_mends_what_an_older_version_did_not_count(
    parts: Parts, luma: Luma, settings: Settings
) -> None:
    for _ in range(2):
        await parts.tracker.lookup(luma.create(plan=Plan(0, 0)))
    wrong = "UPDATE counters SET value = value + 3 WHERE name = 'state'"
    execute(settings.database_url, wrong)
    assert await parts.tracker.stats.by_state() == {"completed": 5}

    assert await parts.tracker.stats.recount() == 1

    assert await parts.tracker.stats.by_state() == {"completed": 2}
