"""Asking Luma: what it says goes through the one door, and an answer knows no more than it can."""

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
from service.luma import AdmissionControl, LumaClient, Upstream, dream_machine_upstream
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

LONG = Plan(queued=1, dreaming=10_000)


async def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds, and fail if it does not in time."""
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.01)


@dataclass
class Asking:
    """A fetcher with one upstream, and what stands behind it."""

    fetcher: Fetcher
    upstream: Upstream
    database: Database
    luma: Luma
    clock: Callable[[], datetime]

    async def claim(self, generation_id: str, *states: str) -> Generation:
        """Tell of those states by callback; answers the row."""
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
async def asking(settings: Settings, luma: Luma, clock: Clock, rate: Rate) -> AsyncIterator[Asking]:
    async with open_tracker(settings):
        pass  # makes the database
    async with open_database(settings.database_url) as database, LumaClient(timeout=2) as client:
        gate = AdmissionControl("dream_machine", rate)
        upstream = dream_machine_upstream(luma.dream_machine_url, "luma-key", client, gate, clock)
        changes = Changes(database, Cache(0))
        fetcher = Fetcher(database, [upstream], changes, clock)
        yield Asking(fetcher, upstream, database, luma, clock)
        await fetcher.close()
        await changes.close()


async def test_what_is_unknown_is_fetched_once_for_all_who_ask_and_stored(asking: Asking) -> None:
    generation_id = asking.luma.create(prompt="a lake")
    asking.luma.fault(Fault(delay=0.2))
    asked = [asking.fetcher.fetch_unknown(generation_id, fresh=False) for _ in range(50)]
    await asyncio.gather(*asked)
    assert asking.luma.count("GET") == 1
    row = await asking.row(generation_id)
    assert (row.prompt, row.rev, row.source, row.verified) == ("a lake", 1, Source.FETCH, True)


async def test_an_absence_is_remembered_unless_somebody_wants_to_know_anew(asking: Asking) -> None:
    for fresh in (False, False, False, True, False):
        with pytest.raises(NotFound):
            await asking.fetcher.fetch_unknown("nobody", fresh=fresh)
    assert asking.luma.count("GET") == 2


async def test_what_nobody_could_tell_is_not_stored(asking: Asking) -> None:
    generation_id = asking.luma.create()
    asking.luma.fault(Fault(status=500))
    with pytest.raises(UpstreamUnavailable):
        await asking.fetcher.fetch_unknown(generation_id, fresh=False)
    assert await asking.database.read(find, generation_id) is None


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=401), Fault(body=b"<html>"), Fault(drop=True)]
)
async def test_a_row_is_answered_as_it_was_when_luma_cannot_tell(
    asking: Asking, fault: Fault
) -> None:
    generation_id = asking.luma.create()
    row = await asking.claim(generation_id, "dreaming")
    asking.luma.fault(fault)
    await asking.fetcher.refresh(row.id)
    assert await asking.row(generation_id) == row


async def test_a_claim_that_luma_confirms_is_verified_with_one_request(asking: Asking) -> None:
    generation_id = asking.luma.create(plan=Plan(0, 0))
    row = await asking.claim(generation_id, "completed")
    assert (row.verified, row.rev) == (False, 1)
    await asyncio.gather(*(asking.fetcher.check(row, Purpose.VERIFY) for _ in range(10)))
    after = await asking.row(generation_id)
    assert (after.verified, after.rev, after.source) == (True, 2, Source.FETCH)
    assert dict(after.assets) == {
        name: url for name, url in asking.luma.body(generation_id)["assets"].items() if url
    }
    assert after.next_check_at is None
    assert asking.luma.count("GET") == 1


async def test_a_claim_that_luma_denies_is_overruled(asking: Asking) -> None:
    generation_id = asking.luma.create(plan=LONG)
    asking.luma.advance(5)
    row = await asking.claim(generation_id, "completed")
    await asking.fetcher.check(row, Purpose.VERIFY)
    after = await asking.row(generation_id)
    assert (after.state, after.verified, after.assets) == ("dreaming", True, {})
    assert after.finished_at is None
    assert after.next_check_at
    assert after.next_check_at > asking.clock()


async def test_a_claim_of_what_luma_does_not_know_is_gone_and_stays_unconfirmed(
    asking: Asking, clock: Clock
) -> None:
    row = await asking.claim("made-up", "completed")
    await asking.fetcher.check(row, Purpose.VERIFY)
    missing = await asking.row("made-up")
    assert (missing.gone_at, missing.rev) == (None, 1)
    assert missing.next_check_at
    assert 30 < (missing.next_check_at - clock()).total_seconds() <= 60
    clock.turn(60)
    await asking.fetcher.check(missing, Purpose.VERIFY)
    after = await asking.row("made-up")
    assert (after.gone_at, after.verified, after.rev) == (clock(), False, 2)
    assert after.next_check_at
    assert after.next_check_at > clock() + timedelta(hours=20), "rarely from now on"


async def test_a_quiet_row_is_asked_about_and_says_how_it_was_learnt(asking: Asking) -> None:
    generation_id = asking.luma.create(plan=Plan(0, 0))
    row = await asking.claim(generation_id, "dreaming")
    await asking.fetcher.check(row, Purpose.RECONCILE)
    after = await asking.row(generation_id)
    assert (after.state, after.verified, after.source) == ("completed", True, Source.RECONCILE)


async def test_an_answer_that_is_older_than_the_claim_does_not_overrule_it(asking: Asking) -> None:
    """Luma finished between its answer leaving and our getting it: the callback knew better."""
    generation_id = asking.luma.create(plan=LONG)
    asking.luma.advance(5)
    row = await asking.claim(generation_id, "dreaming")
    asking.luma.fault(Fault(delay=0.3))
    answer = asyncio.create_task(asking.fetcher.refresh(row.id))
    await until(lambda: asking.luma.count("GET") == 1)
    claimed = await asking.claim(generation_id, "completed")
    await answer
    after = await asking.row(generation_id)
    assert (after.state, after.verified, after.rev) == ("completed", False, claimed.rev)
    assert after.next_check_at is not None  # and it is asked again


async def test_news_about_what_luma_did_not_know_are_confirmed_too(
    asking: Asking, clock: Clock
) -> None:
    """Its answer can lag behind its callbacks; a row must not stay gone for ever for that."""
    generation_id = "late-to-be-known"
    await asking.fetcher.check(await asking.claim(generation_id, "dreaming"), Purpose.VERIFY)
    clock.turn(31)
    await asking.fetcher.check(await asking.row(generation_id), Purpose.VERIFY)
    assert (await asking.row(generation_id)).gone_at
    claimed = await asking.claim(generation_id, "completed")
    assert claimed.next_check_at is not None
    assert claimed.next_check_at <= asking.clock()


async def test_the_same_news_again_about_what_is_gone_bring_one_question_in_half_a_minute(
    asking: Asking, clock: Clock
) -> None:
    await asking.fetcher.check(await asking.claim("made-up", "completed"), Purpose.VERIFY)
    clock.turn(31)
    await asking.fetcher.check(await asking.row("made-up"), Purpose.VERIFY)
    again = await asking.claim("made-up", "completed", "completed")
    assert again.gone_at
    assert again.next_check_at == clock() + timedelta(seconds=32)
    clock.turn(3600)
    again = await asking.claim("made-up", "completed", "completed")
    assert again.next_check_at == clock()


@pytest.mark.parametrize("rate", [Rate(5, 3)])
async def test_a_person_does_not_wait_behind_our_own_question_about_the_same_row(
    asking: Asking, rate: Rate
) -> None:
    """The background's share is spent, so its question waits; there is room for a person's."""
    generation_id = asking.luma.create()
    row = await asking.claim(generation_id, "dreaming")
    for _ in range(4):
        await asking.upstream.fetch(generation_id, Purpose.READ)
    ours = asyncio.create_task(asking.fetcher.check(row, Purpose.VERIFY))
    await asyncio.sleep(0)
    begun = monotonic()
    await asking.fetcher.refresh(row.id)
    assert monotonic() - begun < 1.5
    ours.cancel()
    await asyncio.gather(ours, return_exceptions=True)


async def test_a_refresh_behind_an_answer_is_one_request_for_all_who_start_it(
    asking: Asking,
) -> None:
    generation_id = asking.luma.create(plan=Plan(0, 0))
    row = await asking.claim(generation_id, "dreaming")
    asking.luma.fault(Fault(delay=0.2))
    for _ in range(20):
        asking.fetcher.refresh_in_background(row.id)
    await asking.fetcher.refresh(row.id)
    assert asking.luma.count("GET") == 1
    assert (await asking.row(generation_id)).state == "completed"


async def test_a_refresh_behind_an_answer_that_fails_harms_nobody(asking: Asking) -> None:
    generation_id = asking.luma.create()
    row = await asking.claim(generation_id, "dreaming")
    asking.luma.fault(Fault(status=500))
    asking.fetcher.refresh_in_background(row.id)
    await until(lambda: [seen.status for seen in asking.luma.requests] == [500])
    assert await asking.row(generation_id) == row


async def test_an_answer_about_another_generation_is_not_believed(asking: Asking) -> None:
    generation_id = asking.luma.create()
    row = await asking.claim(generation_id, "dreaming")
    asking.luma.fault(Fault(body=life_of("another", "completed")[0]))
    await asking.fetcher.refresh(row.id)
    assert await asking.row(generation_id) == row
    assert await asking.database.read(find, "another") is None


async def test_a_duplicate_of_an_overruled_claim_is_a_claim_again(asking: Asking) -> None:
    """The same bytes may be true later; they are asked about again."""
    generation_id = asking.luma.create(plan=LONG)
    asking.luma.advance(5)
    await asking.fetcher.check(await asking.claim(generation_id, "completed"), Purpose.VERIFY)
    [body] = life_of(generation_id, "completed")
    receipt = await asking.database.write(record, body, Grant(), asking.clock())
    row = await asking.row(generation_id)
    assert receipt.outcome is Outcome.APPLIED
    assert (row.state, row.verified) == ("completed", False)
    assert row.next_check_at == asking.clock()
    await asking.fetcher.check(row, Purpose.VERIFY)
    settled = await asking.row(generation_id)
    assert settled.state == "dreaming"
    assert settled._replace(rev=0).verified
