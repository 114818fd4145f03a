"""The partitioning that docs/scale.md describes, with its SQL; and the benchmark at small size."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from benchmarks.documented import statements
from benchmarks.growth import grown
from benchmarks.questions import QUESTIONS
from service.bootstrap import Parts, migrate, open_parts
from service.config import Settings
from service.domain.generation import Outcome
from service.domain.query import parse
from service.storage.events import Event
from service.storage.listing import Query
from service.tracking.callback_tokens import Grant
from service.tracking.tracker import Tracker
from tests.conftest import PAYLOADS, Clock
from tests.databases import execute

ROOT = Path(__file__).parents[2]
OLD = timedelta(days=100)
IDS = [f"generation-{n}" for n in range(12)]


def callback(id_: str, state: str) -> bytes:
    """Return the body of a callback."""
    body = PAYLOADS[f"CONSTRUCTED_video_{state}"]
    return json.dumps({**body, "id": id_}).encode()


def run(settings: Settings, *titles: str) -> None:
    """Run SQL from the documentation."""
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        for title in titles:
            connection.execute(statements()[title].encode())


@pytest.fixture
def clock() -> Clock:
    """A clock set to today, because the documentation creates the months around today."""
    turned = Clock()
    turned.now = datetime.now(UTC)
    return turned


@pytest.fixture
async def parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    """A service whose database was partitioned while there were rows in it."""
    await migrate(settings)
    without_keys = settings.model_copy(update={"luma_api_key": None, "luma_agents_api_key": None})
    async with open_parts(without_keys, clock) as before:
        clock.turn(-OLD.total_seconds())
        await tell(before.tracker, "old", "completed")
        clock.turn(OLD.total_seconds())
        await tell(before.tracker, "early", "queued")
    run(settings, "Events by month", "Generations by hash of the id")
    async with open_parts(without_keys, clock) as opened:
        yield opened


def months(settings: Settings) -> list[str]:
    """The partitions of events by month, oldest first."""
    named = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^events_2' ORDER BY 1"
    return [name for (name,) in execute(settings.database_url, named)]


async def tell(tracker: Tracker, id_: str, state: str) -> Outcome:
    """Receive a callback."""
    return (await tracker.deliveries.receive(callback(id_, state), Grant(None))).outcome


async def history(tracker: Tracker, id_: str) -> list[Event]:
    return await tracker.events(id_, after=0, limit=100)


@pytest.mark.postgres
async def test_what_was_there_is_there(parts: Parts) -> None:
    assert (await parts.tracker.lookup("old")).generation.state == "completed"
    assert [event.to_state for event in await history(parts.tracker, "early")] == ["queued"]


@pytest.mark.postgres
async def test_callbacks_are_folded_once_and_in_order(parts: Parts) -> None:
    for state in ("queued", "dreaming", "completed"):
        assert {await tell(parts.tracker, id_, state) for id_ in IDS} == {Outcome.APPLIED}
    assert await tell(parts.tracker, IDS[0], "completed") is Outcome.UNCHANGED
    assert await tell(parts.tracker, "early", "completed") is Outcome.APPLIED

    assert (await parts.tracker.lookup("early")).generation.rev == 2
    seqs = [event.seq for id_ in IDS for event in await history(parts.tracker, id_)]
    assert len(seqs) == len(set(seqs)) == 3 * len(IDS)
    assert min(seqs) > max(event.seq for event in (await history(parts.tracker, "early"))[:1])


@pytest.mark.postgres
async def test_pages_go_over_all_partitions_in_one_order(
    parts: Parts, settings: Settings, clock: Clock
) -> None:
    for id_ in IDS:
        clock.turn(1)
        await tell(parts.tracker, id_, "failed")
    asked, found = Query(limit=5, state=("failed",)), list[str]()
    while True:
        page = await parts.tracker.page(asked)
        found += [generation.id for generation in page.items]
        if page.next_cursor is None:
            break
        asked = replace(asked, cursor=page.next_cursor)

    assert sorted(found) == sorted(IDS)
    used = execute(
        settings.database_url, "SELECT DISTINCT tableoid::regclass::text FROM generations"
    )
    assert len(used) > 1
    assert [g.id for g in (await parts.tracker.page(Query(q=parse("GENERATION-7")))).items] == [
        IDS[7]
    ]


@pytest.mark.postgres
async def test_retention_takes_old_rows_and_a_month_goes_as_a_whole(
    parts: Parts, settings: Settings
) -> None:
    await parts.maintenance.prune()
    assert await history(parts.tracker, "old") == []
    assert len(await history(parts.tracker, "early")) == 1

    before = months(settings)
    run(settings, "Drop the oldest month")
    assert months(settings) == before[1:]
    run(settings, "Create a month in advance", "Create a month in advance")
    assert len(months(settings)) == len(before)
    assert await tell(parts.tracker, "early", "dreaming") is Outcome.APPLIED
    left = execute(settings.database_url, "SELECT count(*) FROM events_rest")
    assert [*left[0]] == [0], "each event has a month"


@pytest.mark.postgres
async def test_the_views_are_those_of_the_new_tables(parts: Parts, settings: Settings) -> None:
    await tell(parts.tracker, IDS[0], "queued")
    for view in ("luma_events", "luma_generations"):
        assert execute(settings.database_url, f"SELECT count(*) FROM {view}") == [(3,)]  # noqa: S608


@pytest.mark.postgres
async def test_a_partitioned_database_counts_as_migrated(parts: Parts, settings: Settings) -> None:
    migrated = await migrate(settings)
    assert migrated.before == migrated.after
    await parts.tracker.readiness.require()


@pytest.mark.thorough
@pytest.mark.sqlite
def test_the_benchmark_runs_in_small() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--rows", "200", "400", "--repeat", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "| point read |" in done.stdout
    assert "| deliveries | " in done.stdout


def test_growth_is_found_where_there_must_be_none() -> None:
    same = {(question.name, size): 1e-3 for question in QUESTIONS for size in (1, 10)}
    slower = same | {("point read", 10): 2e-3, ("q: a word in none", 10): 1.0}

    assert grown(same, [1, 10]) == []
    assert grown(slower, [1, 10]) == ["point read 2.0"]
