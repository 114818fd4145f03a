"""Maintenance: unfolded deliveries are retried, and old rows are deleted in small batches."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.domain.generation import Outcome
from service.errors import NotFound, StoreUnavailable
from service.storage.listing import Query
from service.tracking.callback_tokens import Grant
from service.tracking.creating.request import CreateRequest
from service.tracking.tracker import Tracker
from tests.acceptance.storm import life_of
from tests.conftest import Clock
from tests.databases import curse, engine_for, execute, lift, one

DAYS = 86_400


@pytest.fixture
async def parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    """All parts without background loops; the retention is ten days."""
    async with open_parts(settings.model_copy(update={"retention_days": 10.0}), clock) as opened:
        yield opened


class Outside:
    """The same database, without our own code."""

    def __init__(self, url: str) -> None:
        self.execute = partial(execute, url)
        self.one = partial(one, url)
        self._engine = engine_for(url)

    def curse(self, when: str = "1 = 1", on: str = "INSERT") -> None:
        with self._engine.begin() as connection:
            curse(connection, on=on, when=when)

    def lift(self) -> None:
        with self._engine.begin() as connection:
            lift(connection)

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def sql(settings: Settings, parts: Parts) -> Iterator[Outside]:
    with closing(Outside(settings.database_url)) as outside:
        yield outside


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Capture the logs: rendering hundreds of logged failures for a terminal is slow."""
    with capture_logs():
        yield


async def tell(tracker: Tracker, generation_id: str, *states: str) -> list[Outcome]:
    receipts = [
        await tracker.deliveries.receive(body, Grant()) for body in life_of(generation_id, *states)
    ]
    return [receipt.outcome for receipt in receipts]


async def test_what_could_not_be_folded_is_folded_when_the_cause_is_gone(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    sql.curse("NEW.id = 'cursed'")
    assert await tell(parts.tracker, "cursed", "dreaming", "completed") == [Outcome.KEPT] * 2
    await parts.maintenance.refold()
    assert sql.one("SELECT count(*) FROM generations") == 0
    assert "cursed" in sql.one("SELECT error FROM deliveries")

    sql.lift()
    clock.turn(1)
    await parts.maintenance.refold()

    states = sql.execute("SELECT to_state, rev FROM events ORDER BY seq")
    assert states == [("dreaming", 1), ("completed", 2)]  # in the order in which they came
    settled = sql.execute("SELECT outcome, error, handled_at IS NULL FROM deliveries")
    assert settled == [("applied", None, False)] * 2
    answer = await parts.tracker.lookup("cursed")
    assert answer.generation.state == "completed"


async def test_what_is_folded_again_is_so_in_the_order_in_which_it_came(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    states = [f"step {n}" for n in range(9)]
    sql.curse("NEW.id = 'cursed'")
    assert await tell(parts.tracker, "cursed", *states) == [Outcome.KEPT] * len(states)
    sql.lift()
    await parts.maintenance.refold()
    assert sql.execute("SELECT to_state FROM events ORDER BY seq") == [(s,) for s in states]


async def test_folding_again_what_is_folded_changes_nothing(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    await tell(parts.tracker, "a", "dreaming", "completed")
    everything = [f"SELECT * FROM {t} ORDER BY 1" for t in ("generations", "deliveries", "events")]  # noqa: S608
    before = [sql.execute(query) for query in everything]
    clock.turn(100)
    await parts.maintenance.refold()
    assert [sql.execute(query) for query in everything] == before


async def test_whoever_waits_hears_of_what_is_folded_later(parts: Parts, sql: Outside) -> None:
    await tell(parts.tracker, "a", "dreaming")
    sql.curse(on="UPDATE")
    assert await tell(parts.tracker, "a", "completed") == [Outcome.KEPT]
    waiting = asyncio.create_task(parts.tracker.wait("a", 10))
    await asyncio.sleep(0.1)
    sql.lift()
    await parts.maintenance.refold()
    async with asyncio.timeout(5):
        assert (await waiting).generation.state == "completed"


@pytest.mark.thorough_on_postgres
async def test_what_can_never_be_folded_does_not_stand_in_the_way_of_what_can(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    """However many there are, and however old."""
    sql.curse("NEW.id LIKE 'cursed-%' OR NEW.id = 'healed'")
    bodies = [body for n in range(250) for body in life_of(f"cursed-{n}", "dreaming")]
    await asyncio.gather(*(parts.tracker.deliveries.receive(body, Grant()) for body in bodies))
    clock.turn(1)
    assert await tell(parts.tracker, "healed", "completed") == [Outcome.KEPT]
    sql.lift()
    sql.curse("NEW.id LIKE 'cursed-%'")
    for _ in range(3):
        clock.turn(10)
        await parts.maintenance.refold()
    assert sql.one("SELECT count(*) FROM generations") == 1


async def test_the_service_is_not_ready_while_a_delivery_waits_too_long(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    sql.curse("NEW.id = 'cursed'")
    await tell(parts.tracker, "cursed", "completed")
    clock.turn(60)
    await parts.tracker.readiness.require()
    clock.turn(1)
    with pytest.raises(StoreUnavailable, match="could not be folded"):
        await parts.tracker.readiness.require()
    sql.lift()
    await parts.maintenance.refold()
    await parts.tracker.readiness.require()


async def test_what_names_no_generation_does_not_make_the_service_unready(
    parts: Parts, clock: Clock
) -> None:
    """Anyone who has the URL could send such a body, and a retry would change nothing."""
    await parts.tracker.deliveries.receive(b"no JSON at all", Grant())
    clock.turn(DAYS)
    await parts.maintenance.refold()
    await parts.tracker.readiness.require()


async def test_old_deliveries_and_events_go_and_generations_stay(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    await tell(parts.tracker, "old", "dreaming", "completed")
    clock.turn(10 * DAYS - 1)
    await tell(parts.tracker, "new", "dreaming")
    await parts.maintenance.prune()
    assert sql.one("SELECT count(*) FROM deliveries") == 3
    assert sql.one("SELECT count(*) FROM events") == 3

    clock.turn(2)
    await parts.maintenance.prune()

    assert sql.execute("SELECT generation_id FROM deliveries") == [("new",)]
    assert sql.execute("SELECT generation_id FROM events") == [("new",)]
    assert sql.one("SELECT count(*) FROM generations") == 2
    assert (await parts.tracker.lookup("old")).generation.state == "completed"


@pytest.mark.parametrize("retention_days", [10.0, 0.5])
async def test_old_creates_go_once_no_key_can_name_them(
    settings: Settings, clock: Clock, retention_days: float
) -> None:
    kept_for = max(retention_days, 1) * DAYS
    given = settings.model_copy(update={"retention_days": retention_days})
    body = b'{"prompt": "a lake", "model": "ray-2"}'
    request = CreateRequest(
        upstream="dream_machine",
        path="generations/video",
        query="",
        headers=[],
        body=body,
        caller="",
        key=None,
        is_retry=False,
        callback_url=None,
    )
    async with open_parts(given, clock) as parts:
        created = (await parts.gateway.creates.begin(request)).submission
        await parts.gateway.answer_of(created)
        clock.turn(kept_for)
        await parts.maintenance.prune()
        assert await parts.gateway.submission(created.id)
        clock.turn(1)
        await parts.maintenance.prune()
        with pytest.raises(NotFound):
            await parts.gateway.submission(created.id)


async def test_a_number_in_the_history_is_never_given_twice(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    """A follower that resumes by `seq` must not miss events recorded after a clean-up."""
    await tell(parts.tracker, "old", "dreaming", "completed")
    last = sql.one("SELECT max(seq) FROM events")
    clock.turn(11 * DAYS)
    await parts.maintenance.prune()
    await tell(parts.tracker, "new", "dreaming")
    assert sql.one("SELECT min(seq) FROM events") > last


FILL = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
    INSERT INTO {} SELECT {} FROM n
"""
OLD = "'2020-01-01 00:00:00.000000'"


def fill(sql: Outside) -> None:
    """Ten thousand old deliveries, and as many events."""
    delivery = f"'d' || i, 'x' || i, ?, {OLD}, 'g' || i, 'applied', NULL, 0, {OLD}"
    columns = "id, digest, body, received_at, generation_id, outcome, error, duplicates, handled_at"
    sql.execute(FILL.format(f"deliveries ({columns})", delivery), bytes(800))
    columns = "generation_id, to_state, rev, source, at"
    sql.execute(FILL.format(f"events ({columns})", f"'g' || i, 'dreaming', 1, 'callback', {OLD}"))


@pytest.mark.thorough_on_postgres
async def test_a_large_clean_up_is_done_in_steps_between_which_callbacks_are_answered(
    parts: Parts, sql: Outside
) -> None:
    fill(sql)
    cleaning = asyncio.create_task(parts.maintenance.prune())
    slowest, answered = 0.0, 0
    while not cleaning.done():
        begun = monotonic()
        assert await tell(parts.tracker, f"now-{answered}", "dreaming") == [Outcome.APPLIED]
        slowest = max(slowest, monotonic() - begun)
        answered += 1
    await cleaning
    assert answered >= 20  # callbacks are handled between the batches
    assert slowest < 2
    assert sql.one("SELECT count(*) FROM deliveries") == answered
    assert sql.one("SELECT count(*) FROM events") == answered


async def test_clean_up_with_nothing_to_do_does_not_go_on_for_ever(parts: Parts) -> None:
    async with asyncio.timeout(5):
        await parts.maintenance.prune()
        await parts.maintenance.refold()


async def test_the_retention_is_counted_from_now_each_time(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    for n in range(4):
        await tell(parts.tracker, f"day-{n}", "dreaming")
        clock.turn(DAYS)
    clock.now += timedelta(days=7.5)
    kept = []
    for _ in range(3):
        await parts.maintenance.prune()
        kept.append(sql.one("SELECT count(*) FROM deliveries"))
        clock.turn(DAYS)
    assert kept == [2, 1, 0]


async def test_a_delivery_that_fails_every_time_is_given_up_and_said(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    """It is given up long before it could make the service unready."""
    sql.curse("NEW.id = 'cursed'")
    await tell(parts.tracker, "cursed", "completed")
    with capture_logs() as said:
        for _ in range(8):
            clock.turn(10)
            await parts.maintenance.refold()
            await parts.tracker.readiness.require()
    assert sql.one("SELECT tries FROM deliveries") == 5
    [told] = [entry for entry in said if entry["event"] == "deliveries_given_up"]
    assert told["count"] == 1
    assert "luma-tracker replay" in told["hint"]
    assert REGISTRY.get_sample_value("luma_tracker_deliveries_given_up") == 1

    sql.lift()
    [kept] = await parts.tracker.deliveries.page(
        outcomes=("kept",), generation_ids=(), before=None, limit=9
    )
    receipt = await parts.tracker.deliveries.replay(kept.id)
    assert receipt.outcome is Outcome.APPLIED
    await parts.maintenance.refold()
    assert REGISTRY.get_sample_value("luma_tracker_deliveries_given_up") == 0


@pytest.mark.parametrize("field", ["state", "model", "generation_type"])
async def test_what_is_too_long_for_an_index_is_cut_and_folded(
    parts: Parts, sql: Outside, field: str
) -> None:
    """Random text does not compress, and PostgreSQL limits an index entry to 2,704 bytes."""
    chance = random.Random(7)
    long = "".join(chance.choice("湖abcdefghijklmnop😀") for _ in range(20_000))
    body = {"id": "g", "state": "dreaming", field: long}
    for _ in range(2):
        receipt = await parts.tracker.deliveries.receive(json.dumps(body).encode(), Grant())
        assert receipt.outcome in (Outcome.APPLIED, Outcome.UNCHANGED)
    shown = (await parts.tracker.lookup("g")).representation.document()
    assert shown[field] == f"{long[:255]}…"
    wanted: dict[str, Any] = {field: (f"{long[:255]}…",)}
    page = await parts.tracker.page(Query(**wanted))
    assert [item.id for item in page.items] == ["g"]


async def test_a_delivery_that_was_tried_again_in_vain_never_makes_the_service_unready(
    parts: Parts, sql: Outside, clock: Clock
) -> None:
    """However long a round of retries takes; there may be very many deliveries."""
    sql.curse("NEW.id = 'cursed'")
    await tell(parts.tracker, "cursed", "completed")
    await parts.maintenance.refold()
    clock.turn(DAYS)
    await parts.tracker.readiness.require()
    lag = REGISTRY.get_sample_value("luma_tracker_inbox_lag_seconds")
    assert lag == 0
    await parts.maintenance.refold()
    assert REGISTRY.get_sample_value("luma_tracker_inbox_lag_seconds") == DAYS


@pytest.mark.thorough_on_postgres
async def test_many_deliveries_are_folded_again_in_few_commits(parts: Parts, sql: Outside) -> None:
    sql.curse("NEW.id LIKE 'cursed-%'")
    bodies = [body for n in range(250) for body in life_of(f"cursed-{n}", "dreaming")]
    await asyncio.gather(*(parts.tracker.deliveries.receive(body, Grant()) for body in bodies))
    commits = "luma_tracker_commit_writes_count"
    before = REGISTRY.get_sample_value(commits) or 0
    await parts.maintenance.refold()
    assert sql.execute("SELECT DISTINCT tries FROM deliveries") == [(2,)]
    assert (REGISTRY.get_sample_value(commits) or 0) - before < 20
