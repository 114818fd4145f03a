"""The fetcher: results go through `observe`, and do not overrule claims that came later."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

import pytest

from service.bootstrap import open_tracker
from service.config import Settings
from service.domain.generation import Generation, Outcome, Source
from service.domain.request_budget import Purpose, Rate
from service.errors import NotFound, UpstreamUnavailable
from service.luma import AdmissionControl, LumaClient, Upstream
from service.simulator import Fault, Luma, Plan
from service.storage.engine import Database, open_database
from service.storage.generations import find
from service.tracking.cache import Cache
from service.tracking.callback_tokens import Grant
from service.tracking.changes import Changes
from service.tracking.fetcher import Fetcher
from tests.acceptance.storm import life_of
from tests.conftest import Clock
from tests.single import record
from tests.waiting import until_async

LONG = Plan(queued=1, dreaming=10_000)


@dataclass
class Setup:
    """A fetcher with one upstream, and the parts that it uses."""

    fetcher: Fetcher
    upstream: Upstream
    database: Database
    luma: Luma
    clock: Callable[[], datetime]

    async def claim(self, generation_id: str, *states: str) -> Generation:
        """Receive callbacks with these states; returns the row."""
        for body in life_of(generation_id, *states):
            await self.database.write(record, body, Grant(), self.clock())
        return await self.row(generation_id)

    async def row(self, generation_id: str) -> Generation:
        found = await self.database.read(find, generation_id)
        assert found
        return found


@pytest.fixture
def rate() -> Rate:
    return Rate(1000, 1)


@pytest.fixture
async def setup(settings: Settings, luma: Luma, clock: Clock, rate: Rate) -> AsyncIterator[Setup]:
    async with open_tracker(settings):
        pass  # creates the database
    async with open_database(settings.database_url) as database, LumaClient(timeout=2) as client:
        admission = AdmissionControl("dream_machine", rate)
        upstream = Upstream(
            "dream_machine", luma.dream_machine_url, "luma-key", client, admission, clock
        )
        changes = Changes(database, Cache(0))
        fetcher = Fetcher(database, [upstream], changes, clock)
        yield Setup(fetcher, upstream, database, luma, clock)
        await fetcher.close()
        await changes.close()


async def test_what_is_unknown_is_fetched_once_for_all_who_ask_and_stored(setup: Setup) -> None:
    generation_id = setup.luma.create(prompt="a lake")
    setup.luma.fault(Fault(delay=0.2))
    asked = [setup.fetcher.fetch_unknown(generation_id, fresh=False) for _ in range(50)]
    await asyncio.gather(*asked)
    assert setup.luma.count("GET") == 1
    row = await setup.row(generation_id)
    assert (row.prompt, row.rev, row.source, row.verified) == ("a lake", 1, Source.FETCH, True)


async def test_an_absence_is_remembered_unless_somebody_wants_to_know_anew(setup: Setup) -> None:
    for fresh in (False, False, False, True, False):
        with pytest.raises(NotFound):
            await setup.fetcher.fetch_unknown("nobody", fresh=fresh)
    assert setup.luma.count("GET") == 2


async def test_what_nobody_could_tell_is_not_stored(setup: Setup) -> None:
    generation_id = setup.luma.create()
    setup.luma.fault(Fault(status=500))
    with pytest.raises(UpstreamUnavailable):
        await setup.fetcher.fetch_unknown(generation_id, fresh=False)
    assert await setup.database.read(find, generation_id) is None


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=401), Fault(body=b"<html>"), Fault(drop=True)]
)
async def test_a_row_is_answered_as_it_was_when_luma_cannot_tell(
    setup: Setup, fault: Fault
) -> None:
    generation_id = setup.luma.create()
    row = await setup.claim(generation_id, "dreaming")
    setup.luma.fault(fault)
    await setup.fetcher.refresh(row.id)
    assert await setup.row(generation_id) == row


async def test_a_claim_that_luma_confirms_is_verified_with_one_request(setup: Setup) -> None:
    generation_id = setup.luma.create(plan=Plan(0, 0))
    row = await setup.claim(generation_id, "completed")
    assert (row.verified, row.rev) == (False, 1)
    await asyncio.gather(*(setup.fetcher.check(row, Purpose.VERIFY) for _ in range(10)))
    after = await setup.row(generation_id)
    assert (after.verified, after.rev, after.source) == (True, 2, Source.FETCH)
    assert dict(after.assets) == {
        name: url for name, url in setup.luma.body(generation_id)["assets"].items() if url
    }
    assert after.next_check_at is None
    assert setup.luma.count("GET") == 1


async def test_a_claim_that_luma_denies_is_overruled(setup: Setup) -> None:
    generation_id = setup.luma.create(plan=LONG)
    setup.luma.advance(5)
    row = await setup.claim(generation_id, "completed")
    await setup.fetcher.check(row, Purpose.VERIFY)
    after = await setup.row(generation_id)
    assert (after.state, after.verified, after.assets) == ("dreaming", True, {})
    assert after.finished_at is None
    assert after.next_check_at
    assert after.next_check_at > setup.clock()


async def test_a_claim_of_what_luma_does_not_know_is_gone_and_stays_unconfirmed(
    setup: Setup, clock: Clock
) -> None:
    row = await setup.claim("made-up", "completed")
    await setup.fetcher.check(row, Purpose.VERIFY)
    missing = await setup.row("made-up")
    assert (missing.gone_at, missing.rev) == (None, 1)
    assert missing.next_check_at
    assert 30 < (missing.next_check_at - clock()).total_seconds() <= 60
    clock.turn(60)
    await setup.fetcher.check(missing, Purpose.VERIFY)
    after = await setup.row("made-up")
    assert (after.gone_at, after.verified, after.rev) == (clock(), False, 2)
    assert after.next_check_at
    assert after.next_check_at > clock() + timedelta(hours=20), "rarely from now on"


async def test_a_quiet_row_is_asked_about_and_says_how_it_was_learnt(setup: Setup) -> None:
    generation_id = setup.luma.create(plan=Plan(0, 0))
    row = await setup.claim(generation_id, "dreaming")
    await setup.fetcher.check(row, Purpose.RECONCILE)
    after = await setup.row(generation_id)
    assert (after.state, after.verified, after.source) == ("completed", True, Source.RECONCILE)


async def test_an_answer_that_is_older_than_the_claim_does_not_overrule_it(setup: Setup) -> None:
    """The generation is completed while Luma's response is under way; the callback is newer."""
    generation_id = setup.luma.create(plan=LONG)
    setup.luma.advance(5)
    row = await setup.claim(generation_id, "dreaming")
    setup.luma.fault(Fault(delay=0.3))
    answer = asyncio.create_task(setup.fetcher.refresh(row.id))
    await until_async(lambda: setup.luma.count("GET") == 1)
    claimed = await setup.claim(generation_id, "completed")
    await answer
    after = await setup.row(generation_id)
    assert (after.state, after.verified, after.rev) == ("completed", False, claimed.rev)
    assert after.next_check_at is not None  # and it is asked again


async def test_news_about_what_luma_did_not_know_are_confirmed_too(
    setup: Setup, clock: Clock
) -> None:
    """Luma's responses can lag behind its callbacks; a row must not stay gone because of that."""
    generation_id = "late-to-be-known"
    await setup.fetcher.check(await setup.claim(generation_id, "dreaming"), Purpose.VERIFY)
    clock.turn(31)
    await setup.fetcher.check(await setup.row(generation_id), Purpose.VERIFY)
    assert (await setup.row(generation_id)).gone_at
    claimed = await setup.claim(generation_id, "completed")
    assert claimed.next_check_at is not None
    assert claimed.next_check_at <= setup.clock()


async def test_the_same_news_again_about_what_is_gone_bring_one_question_in_half_a_minute(
    setup: Setup, clock: Clock
) -> None:
    await setup.fetcher.check(await setup.claim("made-up", "completed"), Purpose.VERIFY)
    clock.turn(31)
    await setup.fetcher.check(await setup.row("made-up"), Purpose.VERIFY)
    again = await setup.claim("made-up", "completed", "completed")
    assert again.gone_at
    assert again.next_check_at == clock() + timedelta(seconds=32)
    clock.turn(3600)
    again = await setup.claim("made-up", "completed", "completed")
    assert again.next_check_at == clock()


@pytest.mark.parametrize("rate", [Rate(5, 3)])
async def test_a_person_does_not_wait_behind_our_own_question_about_the_same_row(
    setup: Setup, rate: Rate
) -> None:
    """The background check waits, because its share is used up; a read has room in its own."""
    generation_id = setup.luma.create()
    row = await setup.claim(generation_id, "dreaming")
    for _ in range(4):
        await setup.upstream.fetch(generation_id, Purpose.READ)
    ours = asyncio.create_task(setup.fetcher.check(row, Purpose.VERIFY))
    await asyncio.sleep(0)
    begun = monotonic()
    await setup.fetcher.refresh(row.id)
    assert monotonic() - begun < 1.5
    ours.cancel()
    await asyncio.gather(ours, return_exceptions=True)


async def test_a_refresh_behind_an_answer_is_one_request_for_all_who_start_it(
    setup: Setup,
) -> None:
    generation_id = setup.luma.create(plan=Plan(0, 0))
    row = await setup.claim(generation_id, "dreaming")
    setup.luma.fault(Fault(delay=0.2))
    for _ in range(20):
        setup.fetcher.refresh_in_background(row.id)
    await setup.fetcher.refresh(row.id)
    assert setup.luma.count("GET") == 1
    assert (await setup.row(generation_id)).state == "completed"


async def test_a_refresh_behind_an_answer_that_fails_harms_nobody(setup: Setup) -> None:
    generation_id = setup.luma.create()
    row = await setup.claim(generation_id, "dreaming")
    setup.luma.fault(Fault(status=500))
    setup.fetcher.refresh_in_background(row.id)
    await until_async(lambda: [seen.status for seen in setup.luma.requests] == [500])
    assert await setup.row(generation_id) == row


async def test_an_answer_about_another_generation_is_not_believed(setup: Setup) -> None:
    generation_id = setup.luma.create()
    row = await setup.claim(generation_id, "dreaming")
    setup.luma.fault(Fault(body=life_of("another", "completed")[0]))
    await setup.fetcher.refresh(row.id)
    assert await setup.row(generation_id) == row
    assert await setup.database.read(find, "another") is None


async def test_a_duplicate_of_an_overruled_claim_is_a_claim_again(setup: Setup) -> None:
    """The same bytes may be true later, so they are checked again."""
    generation_id = setup.luma.create(plan=LONG)
    setup.luma.advance(5)
    await setup.fetcher.check(await setup.claim(generation_id, "completed"), Purpose.VERIFY)
    [body] = life_of(generation_id, "completed")
    receipt = await setup.database.write(record, body, Grant(), setup.clock())
    row = await setup.row(generation_id)
    assert receipt.outcome is Outcome.APPLIED
    assert (row.state, row.verified) == ("completed", False)
    assert row.next_check_at == setup.clock()
    await setup.fetcher.check(row, Purpose.VERIFY)
    settled = await setup.row(generation_id)
    assert settled.state == "dreaming"
    assert settled._replace(rev=0).verified


async def test_lookups_leave_half_of_a_scarce_budget_to_the_schedule(
    settings: Settings, luma: Luma, clock: Clock
) -> None:
    """Without callbacks, the schedule decides who is asked; a lookup is answered all the same."""
    only_agents = settings.model_copy(update={"luma_api_key": None, "agents_rate": "20/minute"})
    made = luma.create(upstream="agents", plan=LONG)
    async with open_tracker(only_agents, clock) as tracker:
        await tracker.lookup(made)
        for _ in range(20):
            clock.turn(60)
            await tracker.lookup(made)
            await asyncio.sleep(0.05)
    assert 2 < luma.count() <= 12
