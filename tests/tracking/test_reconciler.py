"""The reconciler: one instance checks each due row, at growing intervals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Connection, event, select
from structlog.testing import capture_logs

from service.bootstrap import Parts, open_parts, open_service
from service.config import Settings
from service.domain.generation import Generation
from service.simulator import Fault, Luma, Plan
from service.storage.engine import Database, open_database
from service.storage.engine.sqlite_connections import make_engine
from service.storage.generations import GENERATIONS, find
from service.tracking.background import background
from service.tracking.callback_tokens import Grant
from service.tracking.tracker import Tracker
from tests.acceptance.storm import life_of
from tests.conftest import Clock
from tests.databases import locked
from tests.waiting import until_async

FINISHED = Plan(0, 0)
ENDLESS = Plan(0, 10**9)
AN_HOUR = 3600
CLAIM = timedelta(seconds=45)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With one upstream, and a large request budget."""
    given = {"luma_agents_api_key": None, "dream_machine_rate": "1000/second"}
    return settings.model_copy(update=given)


@dataclass
class Watch:
    """Reads the rows over a separate connection."""

    database: Database

    async def row(self, generation_id: str) -> Generation:
        found = await self.database.read(find, generation_id)
        assert found
        return found

    async def count(self, *states: str) -> int:
        """Count the verified rows in one of these states."""

        def query(connection: Connection) -> int:
            of_them = select(GENERATIONS.c.id).where(
                GENERATIONS.c.state.in_(states), GENERATIONS.c.verified
            )
            return len(connection.execute(of_them).all())

        return await self.database.read(query)

    async def until_heard(self, generation_id: str, at: datetime) -> None:
        """Wait until Luma's report of that time is stored."""
        deadline = monotonic() + 15
        while (await self.row(generation_id)).heard_at < at:
            assert monotonic() < deadline, await self.row(generation_id)
            await asyncio.sleep(0.02)

    async def until_rescheduled(self, generation_id: str, claimed: datetime) -> datetime:
        """Wait until the claim has ended; returns when the row is due."""
        deadline = monotonic() + 15
        while (due := (await self.row(generation_id)).next_check_at) == claimed:
            assert monotonic() < deadline
            await asyncio.sleep(0.02)
        assert due
        return due

    async def until_refused(self, generation_id: str, times: int) -> None:
        """Wait until that many refusals by Luma are stored."""
        deadline = monotonic() + 15
        while (await self.row(generation_id)).refusals < times:
            assert monotonic() < deadline, await self.row(generation_id)
            await asyncio.sleep(0.02)

    async def until_count(self, number: int, *states: str) -> None:
        deadline = monotonic() + 15
        while await self.count(*states) < number:
            assert monotonic() < deadline, await self.count(*states)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def reconciling(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    """Open all parts, with only the reconciler running."""
    async with open_parts(settings, clock) as parts, background(parts.reconciler.run):
        yield parts


@pytest.fixture
async def watch(settings: Settings, clock: Clock) -> AsyncIterator[Watch]:
    async with open_parts(settings, clock), open_database(settings.database_url) as database:
        yield Watch(database)


async def tell(tracker: Tracker, generation_id: str, *states: str) -> None:
    """Receive callbacks with these states."""
    for body in life_of(generation_id, *states):
        await tracker.deliveries.receive(body, Grant())


def running() -> set[str]:
    """The names of the coroutines of all tasks."""
    return {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}


def asked(luma: Luma, generation_id: str) -> int:
    """Return how many times the generation was requested from Luma."""
    return luma.count("GET", f"/generations/{generation_id}")


async def test_a_quiet_row_is_asked_about_when_it_is_due_and_not_before(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    quiet = luma.create(plan=FINISHED)
    async with reconciling(settings, clock) as parts:
        await tell(parts.tracker, quiet, "dreaming")
        due_at = (await watch.row(quiet)).next_check_at
        assert due_at
        clock.turn((due_at - clock()).total_seconds() - 1)
        claimed = luma.create(plan=FINISHED)
        await tell(parts.tracker, claimed, "completed")
        await watch.until_count(1, "completed")  # so a round has passed
        assert asked(luma, quiet) == 0
        clock.turn(1)
        await watch.until_count(2, "completed")
    assert asked(luma, quiet) == 1


async def test_claims_go_before_quiet_rows_and_all_are_found(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    quiet = [luma.create(plan=FINISHED) for _ in range(30)]
    claimed = [luma.create(plan=FINISHED) for _ in range(5)]
    async with open_parts(settings, clock) as parts:
        for generation_id in quiet:
            await tell(parts.tracker, generation_id, "dreaming")
        clock.turn(AN_HOUR)
        for generation_id in claimed:
            await tell(parts.tracker, generation_id, "completed")
    async with reconciling(settings, clock):
        await watch.until_count(35, "completed")
    order = [seen.path.rpartition("/")[2] for seen in luma.requests]
    assert sorted(order) == sorted(quiet + claimed)  # each once
    assert set(order[:16]) >= set(claimed)  # eight checks of each purpose run at a time


async def test_what_is_final_and_confirmed_is_never_asked_about_again(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    done, endless = luma.create(plan=FINISHED), luma.create(plan=ENDLESS)
    async with reconciling(settings, clock) as parts:
        await tell(parts.tracker, done, "completed")
        await tell(parts.tracker, endless, "queued")
        await watch.until_count(1, "completed")
        for _ in range(5):
            clock.turn(10 * AN_HOUR)
            await watch.until_heard(endless, clock())
    assert asked(luma, endless) == 5
    assert asked(luma, done) == 1


@pytest.mark.thorough_on_postgres
async def test_two_services_on_one_database_ask_once_for_each_due_check(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    ids = [luma.create(plan=ENDLESS) for _ in range(40)]
    async with open_parts(settings, clock) as parts:
        for generation_id in ids:
            await tell(parts.tracker, generation_id, "queued")
    async with reconciling(settings, clock), reconciling(settings, clock):
        for times in (1, 2):
            clock.turn(AN_HOUR * 2)
            for generation_id in ids:
                await watch.until_heard(generation_id, clock())
            await asyncio.sleep(0.6)  # two more rounds of each: nobody asks again
            assert [asked(luma, generation_id) for generation_id in ids] == [times] * 40


async def test_what_fell_due_while_we_were_down_is_due_when_we_start(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    ids = [luma.create(plan=FINISHED) for _ in range(10)]
    async with open_parts(settings, clock) as parts:
        for generation_id in ids:
            await tell(parts.tracker, generation_id, "dreaming")
    assert luma.count() == 0
    clock.turn(AN_HOUR * 24)
    async with open_service(settings, clock):
        await watch.until_count(10, "completed")
    assert luma.count("GET") == 10


async def test_without_a_key_nothing_is_asked_and_rows_stay_due(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    generation_id = luma.create(plan=FINISHED)
    keyless = settings.model_copy(update={"luma_api_key": None})
    async with reconciling(keyless, clock) as parts:
        await tell(parts.tracker, generation_id, "completed")
        await asyncio.sleep(0.6)  # two rounds
    assert luma.count() == 0
    due_at = (await watch.row(generation_id)).next_check_at
    assert due_at
    assert due_at <= clock()


async def pauses_of(
    watch: Watch, luma: Luma, clock: Clock, generation_id: str, *, answers: bool
) -> list[float]:
    """Advance the clock to each next check; returns the intervals between them."""
    pauses = []
    for times in range(1, 9):
        await until_async(lambda times=times: asked(luma, generation_id) == times)  # type: ignore[misc]
        if answers:
            await watch.until_heard(generation_id, clock())
        due_at = await watch.until_rescheduled(generation_id, clock() + CLAIM)
        pauses.append((due_at - clock()).total_seconds())
        clock.turn(pauses[-1] + 0.001)
    return pauses


@pytest.mark.thorough_on_postgres
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status=401, times=None), id="refused"),
        pytest.param(Fault(body=b"<html>", times=None), id="nonsense"),
    ],
)
async def test_what_is_no_answer_makes_no_pause_longer(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch, fault: Fault
) -> None:
    """But with a revoked key, rows must not be checked every 2 s either."""
    generation_id = luma.create(plan=ENDLESS)
    luma.fault(fault)
    async with reconciling(settings, clock) as parts:
        await tell(parts.tracker, generation_id, "queued")
        clock.turn(60)
        pauses = await pauses_of(watch, luma, clock, generation_id, answers=False)
    assert all(30 <= pause < 62 for pause in pauses[1:])
    assert (await watch.row(generation_id)).checks == 0


@pytest.mark.parametrize("status", [400, 422])
async def test_what_luma_refuses_to_tell_is_asked_for_three_times_until_there_is_news(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch, status: int
) -> None:
    generation_id = luma.create(plan=ENDLESS)
    luma.fault(Fault(status=status, times=None))
    async with reconciling(settings, clock) as parts:
        await tell(parts.tracker, generation_id, "queued")
        for times in (1, 2, 3):
            clock.turn(61)
            await watch.until_refused(generation_id, times)
        assert (await watch.row(generation_id)).next_check_at is None
        assert asked(luma, generation_id) == 3
        await tell(parts.tracker, generation_id, "dreaming")
        row = await watch.row(generation_id)
    assert (row.refusals, row.next_check_at is not None) == (0, True)


@pytest.mark.thorough
async def test_a_check_that_the_database_cannot_put_off_ends_quietly(
    settings: Settings,
    luma: Luma,
    clock: Clock,
    watch: Watch,
) -> None:
    """A task of ours that raises fails any test, so there is nothing more to assert."""
    generation_id = luma.create(plan=ENDLESS)
    luma.fault(Fault(status=500, delay=0.3, times=None))
    async with reconciling(settings, clock) as parts:
        await tell(parts.tracker, generation_id, "queued")
        with capture_logs() as said:
            clock.turn(61)
            await until_async(lambda: asked(luma, generation_id) > 0)
            with locked(settings.database_url):
                await until_async(lambda: any(one["event"] == "check_failed" for one in said))
                await until_async(lambda: "Reconciler._check" not in running())


async def test_an_outage_does_not_put_off_what_is_old(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    generation_id = luma.create(plan=ENDLESS)
    async with open_parts(settings, clock) as parts:
        await tell(parts.tracker, generation_id, "queued")
    clock.turn(10 * AN_HOUR)
    luma.fault(Fault(status=503, times=None))
    async with reconciling(settings, clock):
        await until_async(lambda: luma.count() == 1)
        due = await watch.until_rescheduled(generation_id, clock() + CLAIM)
    assert due < clock() + timedelta(minutes=2)


@pytest.mark.thorough_on_postgres
async def test_questions_that_bring_nothing_come_more_and_more_rarely(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    generation_id = luma.create(plan=ENDLESS)
    clock.turn(AN_HOUR)  # the callback tells of a creation a while ago
    async with reconciling(settings, clock) as parts:
        await tell(parts.tracker, generation_id, "queued")
        clock.turn(3)
        pauses = await pauses_of(watch, luma, clock, generation_id, answers=True)
    assert pauses[-1] > 4 * pauses[1]
    assert all(later > earlier for earlier, later in pairwise(pauses[1:6]))


async def test_a_claim_of_what_is_old_lasts_less_than_a_minute_and_so_does_its_failure(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    """If this instance dies during a check, another one checks the row soon."""
    generation_id = luma.create(plan=ENDLESS)
    async with open_parts(settings, clock) as parts:
        await tell(parts.tracker, generation_id, "queued")
    clock.turn(10 * AN_HOUR)
    luma.fault(Fault(status=401, delay=1.0, times=None))
    async with reconciling(settings, clock):
        await until_async(lambda: luma.count() == 1)
        claimed = (await watch.row(generation_id)).next_check_at
        assert claimed == clock() + CLAIM
        due = await watch.until_rescheduled(generation_id, claimed)
    assert due < clock() + timedelta(minutes=2)


@pytest.mark.thorough
async def test_while_luma_is_down_it_is_left_alone(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    ids = [luma.create(plan=FINISHED) for _ in range(60)]
    luma.fault(Fault(status=503, times=None))
    async with reconciling(settings, clock) as parts:
        for generation_id in ids:
            await tell(parts.tracker, generation_id, "completed")
        await until_async(lambda: luma.count() >= 5)
        await asyncio.sleep(1)
        assert luma.count() <= 20  # what was under way when it opened
        luma.clear_faults()
        deadline = monotonic() + 10
        while await watch.count("completed") < 60:
            assert monotonic() < deadline, await watch.count("completed")
            clock.turn(60)
            await asyncio.sleep(0.2)


async def test_what_luma_does_not_know_is_asked_about_once_more_and_then_rarely(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    async with reconciling(settings, clock) as parts:
        await tell(parts.tracker, "made-up", "completed")
        await until_async(lambda: asked(luma, "made-up") == 1)
        async with asyncio.timeout(10):
            while (await watch.row("made-up")).gone_at is None:
                clock.turn(5)
                await asyncio.sleep(0.02)
        assert asked(luma, "made-up") == 2
        clock.turn(AN_HOUR * 10)
        other = luma.create(plan=FINISHED)
        await tell(parts.tracker, other, "completed")
        await watch.until_count(1, "completed")
    assert asked(luma, "made-up") == 2


async def test_it_stops_at_once_even_while_luma_does_not_answer(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    luma.fault(Fault(delay=60, times=None))
    generation_id = luma.create(plan=FINISHED)
    async with asyncio.timeout(10):
        async with reconciling(settings, clock) as parts:
            await tell(parts.tracker, generation_id, "completed")
            await until_async(lambda: luma.count() == 1)
            begun = monotonic()
        assert monotonic() - begun < 1
    luma.clear_faults()


@pytest.mark.sqlite  # it reads SQLite's query plans
async def test_looking_for_what_is_due_does_not_read_all_that_is_finished(
    settings: Settings, luma: Luma, clock: Clock, watch: Watch
) -> None:
    """The search runs in the writer several times a second, and callbacks wait for it."""
    said = list[tuple[str, Any]]()
    generation_id = luma.create(plan=FINISHED)
    with closing(_Noting(said)):
        async with reconciling(settings, clock) as parts:
            await tell(parts.tracker, generation_id, "completed")
            await watch.until_count(1, "completed")
    looked = [each for each in said if each[0].startswith("SELECT") and "LIMIT" in each[0]]
    looked = [each for each in looked if "generations.next_check_at <=" in each[0]]
    assert looked
    engine = make_engine(settings.database_url)
    with engine.begin() as connection:
        for sql, parameters in looked:
            steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()
            assert [step for *_, step in steps if "ix_generations_due" not in step] == []
    engine.dispose()


class _Noting:
    """Notes every statement of every engine until it is closed."""

    def __init__(self, said: list[tuple[str, Any]]) -> None:
        self._said = said
        event.listen(Connection, "before_cursor_execute", self._note)

    def _note(self, _c: object, _cursor: object, sql: str, parameters: Any, *_more: object) -> None:
        self._said.append((sql, parameters))

    def close(self) -> None:
        event.remove(Connection, "before_cursor_execute", self._note)
