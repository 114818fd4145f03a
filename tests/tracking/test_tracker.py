"""The use cases, over a real socket: when and how often Luma is asked, and how failures show."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from service.bootstrap import open_tracker
from service.config import Settings
from service.domain.generation import Observation, Outcome, Source
from service.errors import (
    InvalidInput,
    NotFound,
    StoreUnavailable,
    TrackerError,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.simulator import Fault, Luma, ManualClock, Plan, Simulator
from service.storage.engine import open_database
from service.storage.listing import Query
from service.tracking.answer import Served
from service.tracking.callback_tokens import Grant
from service.tracking.deliveries import Receipt
from service.tracking.tracker import Tracker
from tests.conftest import Clock
from tests.databases import execute, locked
from tests.single import observe
from tests.waiting import until_async

UNKNOWN = "00000000-0000-4000-8000-000000000000"

Opener = Callable[..., AbstractAsyncContextManager[Tracker]]
Submitter = Callable[..., Awaitable[None]]


@pytest.fixture
def opened(settings: Settings, clock: Clock) -> Opener:
    """Return a function that opens trackers on the test's database, with changed settings."""

    @asynccontextmanager
    async def open_(**changed: Any) -> AsyncIterator[Tracker]:
        async with open_tracker(settings.model_copy(update=changed), clock) as tracker:
            yield tracker

    return open_


@pytest.fixture
async def alone(opened: Opener) -> AsyncIterator[Tracker]:
    """A tracker with a key for Dream Machine only, and a timeout of 1 s."""
    async with opened(luma_agents_api_key=None, upstream_timeout=1.0) as tracker:
        yield tracker


@pytest.fixture
def submitted(settings: Settings, clock: Clock) -> Submitter:
    """Return a function that stores the response to a create, without using the tracker."""

    async def submit(**given: Any) -> None:
        seen = Observation(source=Source.SUBMIT, **given)
        async with open_database(settings.database_url) as database:
            await database.write(observe, seen, clock())

    return submit


def said(luma: Luma, generation_id: str, **changed: Any) -> bytes:
    """Return the body of a callback with the generation's current state."""
    return json.dumps({**luma.body(generation_id), **changed}).encode()


# --- Known: no request -------------------------------------------------------------------------


async def test_what_was_told_is_answered_without_a_request(
    tracker: Tracker, luma: Luma, clock: Clock
) -> None:
    made = luma.create(prompt="a lake")
    receipt = await tracker.deliveries.receive(said(luma, made), Grant())
    assert (receipt.outcome, receipt.generation_id) == (Outcome.APPLIED, made)
    clock.turn(12)
    for _ in range(5):
        answer = await tracker.lookup(made)
        assert (answer.served, answer.age) == (Served.HIT, timedelta(seconds=12))
        assert (answer.generation.state, answer.generation.prompt) == ("queued", "a lake")
    assert luma.requests == []


async def test_what_was_fetched_once_is_not_fetched_again(tracker: Tracker, luma: Luma) -> None:
    made = luma.create()
    first = await tracker.lookup(made)
    assert (first.served, first.age) == (Served.MISS, timedelta())
    assert (first.generation.verified, first.generation.source) == (True, Source.FETCH)
    asked = luma.count()
    second = await tracker.lookup(made)
    assert (second.served, second.generation) == (Served.HIT, first.generation)
    assert luma.count() == asked


async def test_what_is_stored_outlives_the_tracker(opened: Opener, luma: Luma) -> None:
    made = luma.create()
    async with opened() as before:
        stored = (await before.lookup(made)).generation
    asked = luma.count()
    async with opened() as after:
        assert (await after.lookup(made)).generation == stored
    assert luma.count() == asked


async def test_without_a_key_what_is_stored_is_still_answered(
    opened: Opener, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    async with opened(luma_api_key=None, luma_agents_api_key=None) as tracker:
        await tracker.deliveries.receive(said(luma, made), Grant())
        clock.turn(3600)
        for fresh in (False, True):
            answer = await tracker.lookup(made, fresh=fresh)
            assert (answer.served, answer.generation.state) == (Served.HIT, "queued")
        with pytest.raises(NotFound, match="no API key"):
            await tracker.lookup(UNKNOWN)
    assert luma.requests == []


@pytest.mark.either_database
@pytest.mark.parametrize("odd", ["", "a/b", "x" * 129, "a b", "é", "a\n", "../a", "%2e"])
async def test_what_cannot_be_an_id_is_refused_and_costs_nothing(
    tracker: Tracker, luma: Luma, odd: str
) -> None:
    for ask in (
        tracker.lookup(odd),
        tracker.lookup(odd, fresh=True),
        tracker.wait(odd, 1),
        tracker.events(odd, after=0, limit=1),
    ):
        with pytest.raises(InvalidInput) as error:
            await ask
        assert error.value.field == "generation_id"
    assert luma.requests == []


@pytest.mark.either_database
@pytest.mark.parametrize("dots", [".", ".."])
async def test_an_id_of_dots_is_never_asked_for_at_another_address(
    tracker: Tracker, luma: Luma, dots: str
) -> None:
    with pytest.raises((InvalidInput, NotFound)):
        await tracker.lookup(dots)
    assert [r.path for r in luma.requests if not r.path.endswith(f"/generations/{dots}")] == []


# --- Unknown: one request, whoever asks --------------------------------------------------------


@pytest.mark.either_database
async def test_an_unknown_id_is_asked_for_at_both_upstreams_at_once(
    tracker: Tracker, luma: Luma
) -> None:
    made = luma.create("image", upstream="agents")
    luma.fault(Fault(delay=0.3, times=2))
    lookup = asyncio.create_task(tracker.lookup(made))
    await until_async(lambda: luma.count("GET") == 2)
    assert not lookup.done(), "neither has answered yet"
    assert (await lookup).generation.upstream == "agents"
    assert sorted(r.path for r in luma.requests) == [
        f"/agents/v1/generations/{made}",
        f"/dream-machine/v1/generations/{made}",
    ]


@pytest.mark.either_database
async def test_the_first_upstream_that_knows_it_wins(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    patient = settings.model_copy(update={"upstream_timeout": 60.0})
    async with open_tracker(patient, clock) as tracker:
        for upstream, other in (("dream_machine", "/agents/"), ("agents", "/dream-machine/")):
            made = luma.create("image", upstream=upstream)  # type: ignore[arg-type]
            luma.fault(Fault(delay=50, path=other))
            async with asyncio.timeout(30):
                assert (await tracker.lookup(made)).generation.upstream == upstream
            luma.clear_faults()  # the other may not even have been asked yet


async def test_afterwards_only_the_one_that_knows_it_is_asked(tracker: Tracker, luma: Luma) -> None:
    made = luma.create("image", upstream="agents")
    await tracker.lookup(made)
    other = luma.count(path="/dream-machine/")
    await tracker.lookup(made, fresh=True)
    assert luma.count(path="/dream-machine/") == other
    assert luma.count(path="/agents/") == 2


async def test_fifty_who_ask_at_once_share_one_request(alone: Tracker, luma: Luma) -> None:
    made = luma.create()
    luma.fault(Fault(delay=0.15))
    answers = await asyncio.gather(*(alone.lookup(made) for _ in range(50)))
    assert luma.count() == 1
    assert {answer.generation.id for answer in answers} == {made}
    assert {answer.served for answer in answers} == {Served.MISS}
    assert {answer.generation.rev for answer in answers} == {1}


@pytest.mark.either_database
async def test_fifty_who_ask_for_what_nobody_knows_share_one_request_as_well(
    alone: Tracker, luma: Luma
) -> None:
    luma.fault(Fault(delay=0.15))
    answers = await asyncio.gather(
        *(alone.lookup(UNKNOWN) for _ in range(50)), return_exceptions=True
    )
    assert luma.count() == 1
    assert {type(answer) for answer in answers} == {NotFound}


async def test_whoever_leaves_does_not_take_the_answer_along(alone: Tracker, luma: Luma) -> None:
    made = luma.create()
    luma.fault(Fault(delay=0.2))
    first = asyncio.create_task(alone.lookup(made))
    await until_async(lambda: luma.count() == 1)
    others = [asyncio.create_task(alone.lookup(made)) for _ in range(3)]
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    for answer in await asyncio.gather(*others):
        assert answer.generation.id == made
    assert luma.count() == 1


async def test_an_answer_is_stored_even_if_all_who_asked_have_left(
    alone: Tracker, luma: Luma
) -> None:
    made = luma.create()
    luma.fault(Fault(delay=0.1))
    lookup = asyncio.create_task(alone.lookup(made))
    await until_async(lambda: luma.count() == 1)
    lookup.cancel()
    await asyncio.wait([lookup])
    answer = await alone.wait(made, 0)
    assert answer.generation.id == made
    assert luma.count() == 1


async def test_a_callback_that_overtakes_the_answer_is_not_undone_by_it(
    alone: Tracker, luma: Luma
) -> None:
    made = luma.create()
    luma.fault(Fault(body=said(luma, made), delay=0.2))
    lookup = asyncio.create_task(alone.lookup(made))
    await until_async(lambda: luma.count() == 1)
    luma.advance(10)
    await alone.deliveries.receive(said(luma, made), Grant())
    assert (await lookup).generation.state == "completed"
    assert (await alone.lookup(made)).generation.state == "completed"


# --- Luma fails, and nothing is stored ---------------------------------------------------------


async def failure(tracker: Tracker, luma: Luma, fault: Fault) -> TrackerError:
    """Return the error of a lookup of an unknown id."""
    luma.fault(fault)
    with pytest.raises(TrackerError) as error:
        await tracker.lookup(UNKNOWN)
    assert error.value.hint, "an error says what to do"
    return error.value


@pytest.mark.either_database
@pytest.mark.parametrize("status", [400, 401, 402, 403, 422])
async def test_a_refusal_is_told_as_luma_told_it(alone: Tracker, luma: Luma, status: int) -> None:
    body = b'{"detail": "Invalid API key is provided"}'
    error = await failure(alone, luma, Fault(status=status, body=body))
    assert isinstance(error, UpstreamRefused)
    assert error.upstream == "dream_machine"
    assert f"answered {status}: Invalid API key is provided" in str(error)
    assert "luma-key" not in str(error)


@pytest.mark.either_database
async def test_a_key_that_luma_does_not_know_is_a_refusal(opened: Opener) -> None:
    with Simulator(clock=ManualClock(), api_keys={"another"}).running() as luma:
        changed = {"dream_machine_url": luma.dream_machine_url, "agents_url": luma.agents_url}
        async with opened(**changed) as tracker:
            with pytest.raises(UpstreamRefused, match="401"):
                await tracker.lookup(luma.create())


@pytest.mark.either_database
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_how_long_luma_wants_to_be_left_alone_is_passed_on(
    alone: Tracker, luma: Luma, status: int, form: str
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    value = {"seconds": "120", "date": date}[form]
    error = await failure(alone, luma, Fault(status=status, headers={"Retry-After": value}))
    assert isinstance(error, UpstreamUnavailable)
    assert 110 < error.retry_after <= 120


@pytest.mark.either_database
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=502),
        Fault(status=429),
        Fault(delay=2.0),
        Fault(drop=True),
    ],
    ids=["500", "502", "429 without a time", "too late", "dropped"],
)
async def test_what_may_pass_is_unavailable(alone: Tracker, luma: Luma, fault: Fault) -> None:
    error = await failure(alone, luma, fault)
    assert isinstance(error, UpstreamUnavailable)
    assert (error.upstream, error.retry_after) == ("dream_machine", 5.0)


@pytest.fixture
def unheard() -> Iterator[str]:
    """The URL of a port on which no server listens."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/v1"


@pytest.mark.either_database
async def test_an_upstream_that_is_not_there_is_unavailable(opened: Opener, unheard: str) -> None:
    async with opened(dream_machine_url=unheard, agents_url=unheard) as tracker:
        with pytest.raises(UpstreamUnavailable, match="could not be reached"):
            await tracker.lookup(UNKNOWN)


@pytest.mark.either_database
@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=b"<html>it works!</html>", content_type="text/html"),
        Fault(body=b""),
        Fault(body=b'{"state": "completed"}'),
        Fault(body=b'{"id": "another", "state": "completed"}'),
        Fault(status=204, body=b""),
        Fault(status=302, headers={"Location": "https://elsewhere.example/"}),
    ],
    ids=["a page", "nothing", "no id", "another id", "no content", "a redirect"],
)
async def test_what_makes_no_sense_is_said_and_not_stored(
    alone: Tracker, luma: Luma, fault: Fault
) -> None:
    error = await failure(alone, luma, fault)
    assert isinstance(error, UpstreamNonsense)
    assert error.upstream == "dream_machine"
    assert (await alone.page(Query())).items == []


@pytest.mark.either_database
async def test_a_failure_is_not_remembered(alone: Tracker, luma: Luma) -> None:
    made = luma.create()
    luma.fault(Fault(status=503))
    with pytest.raises(UpstreamUnavailable):
        await alone.lookup(made)
    assert (await alone.lookup(made)).generation.id == made


# --- Luma fails, and something is stored -------------------------------------------------------

FAILURES: dict[str, dict[str, Any]] = {
    "401": {"status": 401},
    "429": {"status": 429, "headers": {"Retry-After": "60"}},
    "500": {"status": 500},
    "too late": {"delay": 1.5},
    "dropped": {"drop": True},
    "a page": {"body": b"<html>"},
    "another id": {"body": b'{"id": "another"}'},
    "a redirect": {"status": 301, "headers": {"Location": "/"}},
}


@pytest.mark.either_database
@pytest.mark.parametrize("upstream", ["dream_machine", "agents"])
async def test_no_failure_of_luma_fails_the_read_of_a_stored_row(
    opened: Opener, submitted: Submitter, luma: Luma, clock: Clock, upstream: str
) -> None:
    for number, (name, fault) in enumerate(FAILURES.items()):
        id_ = f"g{number}"
        luma.clear_faults()
        luma.fault(Fault(**fault, times=None))
        # A new tracker each time, because the breaker of a failed upstream stays open for a while.
        async with opened(upstream_timeout=0.5) as tracker:
            await submitted(id=id_, upstream=upstream, state="queued")
            fresh = await tracker.lookup(id_, fresh=True)
            assert (fresh.generation.state, fresh.generation.gone_at) == ("queued", None), name
            assert luma.count(path=id_) == 1, "a failure is not tried again"
            clock.turn(31)
            stale = await tracker.lookup(id_)
            assert (stale.served, stale.generation.state) == (Served.STALE, "queued"), name
            assert stale.age >= timedelta(seconds=31)
            waited = await tracker.wait(id_, 0.02, fresh=True)
            assert waited.generation.state == "queued", name


@pytest.mark.either_database
async def test_an_odd_output_does_not_fail_the_read_of_a_stored_row(
    tracker: Tracker, submitted: Submitter, luma: Luma
) -> None:
    await submitted(id="a", upstream="agents", state="processing")
    body = {"id": "a", "state": "completed", "output": [{"type": "image", "url": "http://["}]}
    luma.fault(Fault(body=json.dumps(body).encode()))
    answer = await tracker.lookup("a", fresh=True)
    assert answer.generation.state in ("processing", "completed")


@pytest.mark.either_database
async def test_an_upstream_that_is_not_there_does_not_fail_the_read_either(
    opened: Opener, luma: Luma, unheard: str
) -> None:
    made = luma.create()
    async with opened(dream_machine_url=unheard) as tracker:
        await tracker.deliveries.receive(said(luma, made), Grant())
        assert (await tracker.lookup(made, fresh=True)).generation.state == "queued"


# --- Fresh and stale ---------------------------------------------------------------------------


async def test_fresh_asks_luma_first(tracker: Tracker, luma: Luma) -> None:
    made = luma.create()
    await tracker.deliveries.receive(said(luma, made), Grant())
    luma.advance(10)
    answer = await tracker.lookup(made, fresh=True)
    assert (answer.generation.state, answer.generation.verified) == ("completed", True)
    assert luma.count() == 1


async def test_a_quiet_row_is_answered_at_once_and_refreshed_behind(
    opened: Opener, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    async with opened(luma_agents_api_key=None, upstream_timeout=10.0) as tracker:
        await tracker.deliveries.receive(said(luma, made), Grant())
        luma.advance(10)
        clock.turn(30)
        assert (await tracker.lookup(made)).served is Served.HIT
        assert luma.count() == 0
        clock.turn(0.001)
        luma.fault(Fault(delay=1))
        for _ in range(10):
            answer = await tracker.lookup(made)
            assert (answer.served, answer.generation.state) == (Served.STALE, "queued")
        refreshed = await tracker.lookup(made, fresh=True)  # joins the request that is under way
        assert refreshed.generation.state == "completed"
        again = await tracker.lookup(made)
        assert (again.served, again.generation.state) == (Served.HIT, "completed")
        assert luma.count() == 1


async def test_a_finished_row_is_never_stale(tracker: Tracker, luma: Luma, clock: Clock) -> None:
    made = luma.create()
    luma.advance(10)
    await tracker.deliveries.receive(said(luma, made), Grant())
    clock.turn(10 * 24 * 3600)
    assert (await tracker.lookup(made)).served is Served.HIT
    assert luma.requests == []


async def test_a_finished_row_without_its_url_is_still_asked_for(
    alone: Tracker, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    luma.advance(10)
    await alone.deliveries.receive(said(luma, made, assets=None), Grant())
    clock.turn(31)
    assert (await alone.lookup(made)).served is Served.STALE
    answer = await alone.lookup(made, fresh=True)
    assert answer.generation.assets["video"]
    assert luma.count() == 1


async def test_news_by_callback_put_the_refresh_off(
    alone: Tracker, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    await alone.deliveries.receive(said(luma, made), Grant())
    clock.turn(29)
    await alone.deliveries.receive(said(luma, made), Grant())
    clock.turn(29)
    assert (await alone.lookup(made)).served is Served.HIT


async def test_a_fetch_overrules_a_claim_that_luma_does_not_confirm(
    alone: Tracker, luma: Luma
) -> None:
    made = luma.create()
    forged = said(luma, made, state="completed", assets={"video": "https://evil.example/"})
    await alone.deliveries.receive(forged, Grant())
    claimed = (await alone.lookup(made)).generation
    assert (claimed.state, claimed.verified) == ("completed", False)
    answer = await alone.lookup(made, fresh=True)
    assert (answer.generation.state, answer.generation.verified) == ("queued", True)
    assert "evil" not in repr(answer.generation)


# --- Absent and gone ---------------------------------------------------------------------------


@pytest.mark.either_database
async def test_that_nobody_knows_an_id_is_remembered_for_five_seconds(
    tracker: Tracker, luma: Luma, clock: Clock
) -> None:
    with pytest.raises(NotFound, match="is unknown to") as first:
        await tracker.lookup(UNKNOWN)
    assert luma.count() == 2
    clock.turn(4.999)
    with pytest.raises(NotFound) as again:
        await tracker.lookup(UNKNOWN)
    assert (str(again.value), again.value.hint) == (str(first.value), first.value.hint)
    assert luma.count() == 2
    clock.turn(0.001)
    with pytest.raises(NotFound):
        await tracker.lookup(UNKNOWN)
    assert luma.count() == 4


async def test_fresh_asks_even_for_what_nobody_knew(tracker: Tracker, luma: Luma) -> None:
    for count in (2, 4):
        with pytest.raises(NotFound):
            await tracker.lookup(UNKNOWN, fresh=True)
        assert luma.count() == count
    luma.create(id=UNKNOWN)
    assert (await tracker.lookup(UNKNOWN, fresh=True)).generation.id == UNKNOWN


async def test_a_callback_ends_the_absence_at_once(tracker: Tracker, luma: Luma) -> None:
    with pytest.raises(NotFound):
        await tracker.lookup(UNKNOWN)
    luma.create(id=UNKNOWN)
    await tracker.deliveries.receive(said(luma, UNKNOWN), Grant())
    assert (await tracker.lookup(UNKNOWN)).served is Served.HIT
    assert luma.count() == 2


@pytest.mark.parametrize("seconds", [0, 5])
async def test_a_callback_that_comes_while_luma_says_404_is_believed(
    alone: Tracker, luma: Luma, seconds: int
) -> None:
    made = luma.create(plan=Plan(queued=0, dreaming=0))
    luma.fault(Fault(status=404, delay=1.0))
    asked = asyncio.create_task(alone.wait(made, seconds) if seconds else alone.lookup(made))
    await until_async(lambda: luma.count() == 1)
    luma.advance(1)
    await alone.deliveries.receive(said(luma, made), Grant())
    assert (await asked).generation.state == "completed"


async def test_what_luma_no_longer_knows_is_gone_and_still_answered(
    tracker: Tracker, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    before = (await tracker.lookup(made)).generation
    async with httpx.AsyncClient(headers={"Authorization": "Bearer k"}) as http:
        await http.delete(f"{luma.dream_machine_url}/generations/{made}")
    clock.turn(31)
    missing = (await tracker.lookup(made, fresh=True)).generation
    assert (missing.gone_at, missing.rev) == (None, before.rev), "one 404 is not enough"
    clock.turn(31)
    gone = (await tracker.lookup(made, fresh=True)).generation
    assert (gone.gone_at, gone.rev, gone.state) == (clock.now, before.rev + 1, before.state)
    assert (await tracker.page(Query())).items == []
    assert [g.id for g in (await tracker.page(Query(gone=True))).items] == [made]
    asked = luma.count()
    clock.turn(3600)
    assert (await tracker.lookup(made)).served is Served.HIT
    assert luma.count() == asked, "and it is not asked for again by itself"


async def test_what_luma_knows_again_is_no_longer_gone(
    tracker: Tracker, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    await tracker.lookup(made)
    luma.fault(Fault(status=404, times=2))
    await tracker.lookup(made, fresh=True)
    clock.turn(31)
    assert (await tracker.lookup(made, fresh=True)).generation.gone_at
    back = (await tracker.lookup(made, fresh=True)).generation
    assert (back.gone_at, back.rev) == (None, 3)


async def test_a_404_that_is_not_lumas_says_nothing_of_a_row_nor_of_an_id(
    alone: Tracker, luma: Luma, clock: Clock
) -> None:
    """Such a 404 comes from a wrong base URL, or from a proxy."""
    made = luma.create()
    before = (await alone.lookup(made)).generation
    luma.fault(Fault(status=404, body=b"<h1>Not Found</h1>", content_type="text/html", times=None))
    for _ in range(3):
        clock.turn(60)
        assert (await alone.lookup(made, fresh=True)).generation == before
    with pytest.raises(UpstreamNonsense, match="not in Luma's error format"):
        await alone.lookup(UNKNOWN)


async def test_many_that_luma_confirmed_and_does_not_know_now_are_not_believed_gone(
    opened: Opener, luma: Luma, clock: Clock
) -> None:
    plenty = {"dream_machine_rate": "1000/second"}
    async with opened(luma_agents_api_key=None, **plenty) as alone:
        made = [luma.create() for _ in range(12)]
        for each in made:
            await alone.lookup(each)
        luma.fault(Fault(status=404, times=None))
        with capture_logs() as said:
            for _ in range(3):
                clock.turn(31)
                for each in made:
                    assert (await alone.lookup(each, fresh=True)).generation.gone_at is None
        assert [entry["event"] for entry in said].count("account_check_failed") == 1
        [warning] = alone.warnings
        assert "dream_machine knows none of 12 generations" in warning
        luma.clear_faults()
        await alone.lookup(made[0], fresh=True)
        assert alone.warnings == []


# --- The Agents API: URLs that die -------------------------------------------------------------


async def test_dead_urls_are_replaced_before_the_answer_and_without_a_new_rev(
    opened: Opener, luma: Luma, clock: Clock
) -> None:
    made = luma.create("image", upstream="agents")
    async with opened(luma_api_key=None) as tracker:
        await tracker.lookup(made)
        luma.advance(10)
        first = (await tracker.lookup(made, fresh=True)).generation
        assert first.state == "completed"
        assert first.outputs
        clock.turn(30 * 60)
        assert (await tracker.lookup(made)).served is Served.HIT
        assert luma.count() == 2
        for turn in (1, 2):
            luma.advance(3600)
            clock.turn(3600)
            answer = await tracker.lookup(made)
            again = answer.generation
            assert answer.served is Served.STALE
            assert again.assets["image"] != first.assets["image"]
            assert again.outputs[0]["url"] == again.assets["image"]
            assert (again.rev, again.updated_at) == (first.rev, first.updated_at)
            assert luma.count() == 2 + turn
        assert len(await tracker.events(made, after=0, limit=10)) == first.rev


async def test_dead_urls_are_better_than_no_answer(
    opened: Opener, luma: Luma, clock: Clock
) -> None:
    made = luma.create("image", upstream="agents")
    luma.advance(10)
    async with opened(luma_api_key=None, upstream_timeout=1.0) as tracker:
        first = (await tracker.lookup(made)).generation
        clock.turn(7200)
        luma.fault(Fault(status=503))
        assert (await tracker.lookup(made)).generation == first


async def test_a_claim_about_the_other_upstreams_generation_is_put_right(
    tracker: Tracker, luma: Luma
) -> None:
    """Only Dream Machine sends callbacks, but anyone who has the URL can name any id."""
    made = luma.create("image", upstream="agents")
    luma.advance(100)
    await tracker.deliveries.receive(json.dumps({"id": made, "state": "failed"}).encode(), Grant())
    claim = (await tracker.lookup(made)).generation
    assert (claim.upstream, claim.state, claim.verified) == ("dream_machine", "failed", False)
    row = (await tracker.lookup(made, fresh=True)).generation
    assert (row.upstream, row.state, row.verified) == ("agents", "completed", True)
    assert (row.rev, row.gone_at) == (claim.rev + 1, None)


# --- Waiting -----------------------------------------------------------------------------------


async def soon(wait: Awaitable[Any]) -> Any:
    """Check that a longer wait ends within 3 s."""
    async with asyncio.timeout(3):
        return await wait


async def test_a_callback_wakes_all_who_wait(tracker: Tracker, luma: Luma) -> None:
    made = luma.create()
    await tracker.deliveries.receive(said(luma, made), Grant())
    waiting = [asyncio.create_task(tracker.wait(made, 50)) for _ in range(20)]
    await asyncio.wait(waiting, timeout=0.1)
    luma.advance(1)
    await tracker.deliveries.receive(said(luma, made), Grant())
    await asyncio.wait(waiting, timeout=0.1)
    assert not any(task.done() for task in waiting), "dreaming is not the end"
    luma.advance(10)
    await tracker.deliveries.receive(said(luma, made), Grant())
    for answer in await soon(asyncio.gather(*waiting)):
        assert answer.generation.state == "completed"
    assert luma.requests == []


async def test_another_process_on_the_same_store_wakes_who_waits(
    tracker: Tracker, opened: Opener, luma: Luma
) -> None:
    made = luma.create(plan=Plan(outcome="failed"))
    async with opened() as other:
        await other.deliveries.receive(said(luma, made), Grant())
        waiting = asyncio.create_task(tracker.wait(made, 50))
        await asyncio.wait([waiting], timeout=0.15)
        luma.advance(10)
        await other.deliveries.receive(said(luma, made), Grant())
        assert (await soon(waiting)).generation.state == "failed"
    assert luma.requests == []


async def test_who_waits_outlasts_an_outage_of_the_database(
    opened: Opener, settings: Settings, luma: Luma
) -> None:
    made, url = luma.create(), settings.database_url
    async with opened(luma_api_key=None, luma_agents_api_key=None) as keyless:
        execute(url, "ALTER TABLE generations RENAME TO gone")
        with pytest.raises(StoreUnavailable):
            await keyless.lookup(made)
        waiting = asyncio.create_task(keyless.wait(made, 50))
        await asyncio.wait([waiting], timeout=0.2)
        execute(url, "ALTER TABLE gone RENAME TO generations")
        luma.advance(10)
        await keyless.deliveries.receive(said(luma, made), Grant())
        assert (await soon(waiting)).generation.state == "completed"


async def test_what_is_finished_is_not_waited_for(tracker: Tracker, luma: Luma) -> None:
    made = luma.create()
    luma.advance(10)
    answer = await soon(tracker.wait(made, 50))
    assert (answer.served, answer.generation.state) == (Served.MISS, "completed")


async def test_a_wait_that_runs_out_answers_what_is_known(tracker: Tracker, luma: Luma) -> None:
    made = luma.create()
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await soon(tracker.wait(made, 0.3))
    assert 0.29 < loop.time() - began < 2
    assert answer.generation.state == "queued"


async def test_who_waits_for_what_nobody_knows_yet_is_told_when_a_callback_names_it(
    tracker: Tracker, luma: Luma
) -> None:
    waiting = asyncio.create_task(tracker.wait("new", 50))
    await until_async(lambda: luma.count() == 2)
    await tracker.deliveries.receive(b'{"id":"new","state":"failed"}', Grant())
    assert (await soon(waiting)).generation.state == "failed"
    assert luma.count() == 2


async def test_who_waits_for_what_luma_does_not_show_yet_is_told_when_it_does(
    opened: Opener, luma: Luma, clock: Clock
) -> None:
    async with opened(stale_after=0.05) as tracker:
        waiting = asyncio.create_task(tracker.wait("late", 50))
        await until_async(lambda: luma.count() == 2)
        luma.create(id="late")
        luma.advance(100)
        async with asyncio.timeout(3):
            while not waiting.done():
                clock.turn(6)  # for some seconds it is not asked for again
                await asyncio.wait([waiting], timeout=0.05)
        assert (await waiting).generation.state == "completed"


@pytest.mark.either_database
async def test_who_waits_for_what_nobody_ever_knows_is_told_so_in_the_end(
    tracker: Tracker, luma: Luma
) -> None:
    with pytest.raises(NotFound):
        await soon(tracker.wait(UNKNOWN, 0.3))
    assert luma.count() == 2


@pytest.mark.either_database
async def test_who_waits_for_what_luma_refuses_to_tell_is_told_at_once(
    tracker: Tracker, luma: Luma
) -> None:
    luma.fault(Fault(status=403, times=None))
    with pytest.raises(UpstreamRefused):
        await soon(tracker.wait(UNKNOWN, 50))


async def test_waiting_refreshes_a_generation_that_has_gone_quiet(
    alone: Tracker, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    await alone.deliveries.receive(said(luma, made), Grant())
    luma.advance(10)
    clock.turn(5.001)
    assert (await alone.lookup(made)).served is Served.HIT, "for a mere lookup it is not quiet yet"
    answer = await soon(alone.wait(made, 50))
    assert answer.generation.state == "completed"
    assert luma.count() == 1


async def test_a_wait_may_begin_by_asking_luma(alone: Tracker, luma: Luma) -> None:
    made = luma.create()
    await alone.deliveries.receive(said(luma, made), Grant())
    luma.advance(10)
    assert (await soon(alone.wait(made, 50, fresh=True))).generation.state == "completed"


@pytest.mark.either_database
async def test_many_who_wait_cost_one_request(alone: Tracker, luma: Luma) -> None:
    made = luma.create()
    luma.fault(Fault(delay=0.1))
    await asyncio.gather(*(alone.wait(made, 0.4) for _ in range(30)))
    assert luma.count() == 1


@pytest.mark.either_database
async def test_closing_ends_a_wait_for_luma(opened: Opener, luma: Luma) -> None:
    async with opened() as tracker:
        luma.fault(Fault(delay=1.0, times=2))
        lookup = asyncio.create_task(tracker.lookup(UNKNOWN))
        await until_async(lambda: luma.count() == 2)
    await asyncio.wait([lookup], timeout=3)
    assert lookup.cancelled()


# --- History, readiness ------------------------------------------------------------------------


async def test_history_is_told_in_order_and_says_who_told_us(tracker: Tracker, luma: Luma) -> None:
    made = luma.create()
    await tracker.deliveries.receive(said(luma, made), Grant())
    luma.advance(1)
    await tracker.lookup(made, fresh=True)
    luma.advance(10)
    await tracker.deliveries.receive(said(luma, made), Grant())
    events = await tracker.events(made, after=0, limit=100)
    assert [(e.from_state, e.to_state, e.rev, e.source) for e in events] == [
        (None, "queued", 1, "callback"),
        ("queued", "dreaming", 2, "fetch"),
        ("dreaming", "completed", 3, "callback"),
    ]
    assert [bool(e.delivery_id) for e in events] == [True, False, True]
    rest = await tracker.events(made, after=events[0].seq, limit=1)
    assert rest == [events[1]]


async def test_what_is_not_stored_has_no_history_and_costs_no_request(
    tracker: Tracker, luma: Luma
) -> None:
    with pytest.raises(NotFound):
        await tracker.events(UNKNOWN, after=0, limit=1)
    assert luma.requests == []


async def test_a_migrated_database_is_ready(tracker: Tracker) -> None:
    await tracker.readiness.require()


async def test_a_whole_life_by_callbacks_that_repeat_and_overtake_each_other(
    tracker: Tracker, luma: Luma
) -> None:
    made = luma.create(plan=Plan(progress_video=True, states=("queued", "dreaming", "polishing")))
    bodies = []
    for _ in range(8):
        bodies.append(said(luma, made))
        luma.advance(1)
    bodies += reversed(bodies)
    await asyncio.gather(*(tracker.deliveries.receive(body, Grant()) for body in reversed(bodies)))
    row = (await tracker.lookup(made)).generation
    assert (row.state, row.verified) == ("completed", False)
    assert row.assets == {"video": None, "image": None, "progress_video": None} | {
        kind: url for kind, url in luma.body(made)["assets"].items() if url
    }
    events = await tracker.events(made, after=0, limit=100)
    assert [event.rev for event in events] == list(range(1, row.rev + 1))


@pytest.mark.thorough
async def test_callbacks_that_wait_are_bounded_in_bytes(
    tracker: Tracker, settings: Settings
) -> None:
    """Beyond the bound callbacks are refused, so that Luma retries and memory does not run out."""
    large = [b'{"id":"g%d","x":"%b"}' % (n, b"x" * 1_000_000) for n in range(80)]
    with locked(settings.database_url):
        receiving = [tracker.deliveries.receive(body, Grant()) for body in large]
        refused = [each for each in receiving if each.done()]
        assert len(refused) >= 10
        assert all(isinstance(each.exception(), StoreUnavailable) for each in refused)
    taken = await asyncio.gather(*receiving, return_exceptions=True)
    assert sum(isinstance(each, Receipt) for each in taken) == 80 - len(refused)
