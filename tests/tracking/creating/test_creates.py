"""Creates over time, and while the database or the process fails."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.domain.submission import State, Submission
from service.errors import Forbidden
from service.simulator import Fault, Luma, ManualClock, Simulator
from service.tracking.callback_tokens import CallbackTokens
from service.tracking.creating.answer import CreateAnswer
from service.tracking.creating.request import CreateRequest
from service.tracking.gateway import Outgoing
from tests.conftest import Clock
from tests.databases import at, curse, execute, lift
from tests.waiting import until_async

VIDEO = {"prompt": "a lake at sunset", "model": "ray-2"}


@asynccontextmanager
async def opened(settings: Settings, clock: Clock, **changed: object) -> AsyncIterator[Parts]:
    """The parts of one process, whose loops the test runs."""
    values = {**settings.model_dump(), "public_url": "http://127.0.0.1:9", **changed}
    tokens = CallbackTokens(["the-secret-of-the-tests"])
    async with open_parts(Settings.model_validate(values), clock, tokens) as parts:
        yield parts


@pytest.fixture
async def parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    async with opened(settings, clock) as found:
        yield found


@pytest.fixture(autouse=True)
def _no_callbacks(luma: Luma) -> None:
    luma.deliver_callbacks = False


def request(key: str | None = None, *, is_retry: bool = False, **given: Any) -> CreateRequest:
    values: dict[str, Any] = {
        "upstream": "dream_machine",
        "path": "generations/video",
        "query": "",
        "headers": [(b"content-type", b"application/json")],
        "body": json.dumps(VIDEO).encode(),
        "caller": "",
        "callback_url": None,
    }
    return CreateRequest(**{**values, **given}, key=key, is_retry=is_retry)


async def create(
    parts: Parts, key: str | None = None, **given: Any
) -> tuple[Submission, CreateAnswer | Submission]:
    """Create a generation; returns the create and its answer."""
    begun = await parts.gateway.creates.begin(request(key, **given))
    return begun.submission, await parts.gateway.answer_of(begun.submission)


async def state(parts: Parts, submission: Submission) -> tuple[State, str | None]:
    found = await parts.gateway.submission(submission.id)
    return found.state, found.generation_id


async def test_a_key_lives_a_day(parts: Parts, clock: Clock, luma: Luma) -> None:
    first, _ = await create(parts, "k")
    clock.turn(24 * 3600 - 1)
    assert (await create(parts, "k"))[0].id == first.id
    clock.turn(1)
    assert (await create(parts, "k"))[0].id != first.id
    assert luma.count("POST") == 2


async def test_a_retry_after_ten_minutes_is_a_new_attempt(
    parts: Parts, clock: Clock, luma: Luma
) -> None:
    first, _ = await create(parts)
    clock.turn(599)
    assert (await create(parts, is_retry=True))[0].id == first.id
    clock.turn(1)
    assert (await create(parts, is_retry=True))[0].id != first.id
    assert luma.count("POST") == 2


async def test_an_answer_that_reached_the_caller_ends_the_create(parts: Parts) -> None:
    first, _ = await create(parts)
    await parts.gateway.creates.mark_delivered(first.id)
    assert (await create(parts, is_retry=True))[0].id != first.id


async def test_creates_are_found_on_pages_of_any_size(settings: Settings, clock: Clock) -> None:
    with Simulator(clock=ManualClock(), list_limit_cap=3).running() as luma:
        luma.deliver_callbacks = False
        url = {"dream_machine_url": luma.dream_machine_url}
        async with opened(settings, clock, upstream_timeout=0.5, **url) as parts:
            luma.fault(Fault(method="POST", drop=True, processed=True, times=2))
            lost = [(await create(parts))[0] for _ in range(2)]
            for number in range(8):
                luma.create(prompt=f"another {number}")

            await parts.recovery.search()

            states = [await state(parts, each) for each in lost]
            assert [found for found, _ in states] == [State.ACCEPTED] * 2
            assert len({made for _, made in states}) == 2
            assert luma.count("GET") == 4


async def test_the_search_ends_where_everything_is_older(
    parts: Parts, clock: Clock, luma: Luma
) -> None:
    for number in range(101):
        luma.create(prompt=f"another {number}")
    clock.now = datetime.fromisoformat(luma.body(luma.create())["created_at"])
    clock.turn(3600)
    luma.fault(Fault(method="POST", drop=True))
    lost, _ = await create(parts)
    before = luma.count("GET")
    await parts.recovery.search()
    assert luma.count("GET") == before + 1
    assert await state(parts, lost) == (State.UNKNOWN, None)


async def test_a_search_that_fails_is_tried_again(parts: Parts, clock: Clock, luma: Luma) -> None:
    luma.fault(Fault(method="POST", drop=True, processed=True))
    lost, _ = await create(parts)
    luma.fault(Fault(method="GET", status=500, times=2))
    with capture_logs() as logs:
        for _ in range(3):
            await parts.recovery.search()
            clock.turn(1)
    assert [entry["event"] for entry in logs] == ["create_search_failed"] * 2 + ["create_found"]
    assert (await state(parts, lost))[0] is State.ACCEPTED


async def test_one_instance_searches_at_a_time(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    async with opened(settings, clock) as here, opened(settings, clock) as there:
        luma.fault(Fault(method="POST", drop=True))
        await create(here)
        await asyncio.gather(here.recovery.search(), there.recovery.search())
        assert luma.count("GET") == 1


async def test_a_create_whose_process_died_is_unknown_and_then_found(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=1.0))
    async with opened(settings, clock) as here, opened(settings, clock) as there:
        begun = await here.gateway.creates.begin(request("k"))
        await until_async(lambda: luma.requests and luma.requests[-1].body)
        clock.turn(3)  # `here` might have died
        await there.recovery.search()
        found, made = await state(there, begun.submission)
        assert found is State.ACCEPTED
        assert made
        answer = await here.gateway.answer_of(begun.submission)
        assert isinstance(answer, CreateAnswer)
        assert json.loads(answer.body)["id"] == made


async def test_a_create_of_the_agents_api_whose_process_died_is_unknown(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=0.5))
    async with opened(settings, clock) as here, opened(settings, clock) as there:
        asked = request(upstream="agents", path="generations", body=b'{"prompt": "a lake"}')
        begun = await here.gateway.creates.begin(asked)
        clock.turn(60)
        await there.recovery.search()
        assert await state(there, begun.submission) == (State.UNKNOWN, None)
        assert await there.gateway.created(begun.submission) is None


async def test_a_bug_in_folding_loses_no_answer(
    parts: Parts, settings: Settings, luma: Luma
) -> None:
    with at(settings.database_url) as connection:
        curse(connection)
    with capture_logs() as logs:
        submission, answer = await create(parts, "k")
    assert isinstance(answer, CreateAnswer)
    assert answer.status == 201
    assert [entry["event"] for entry in logs] == ["fold_failed"]
    assert await state(parts, submission) == (State.ACCEPTED, json.loads(answer.body)["id"])


async def test_the_caller_gets_its_answer_even_if_it_cannot_be_stored(
    parts: Parts, settings: Settings, luma: Luma
) -> None:
    with at(settings.database_url) as connection:
        curse(connection, "submissions", on="UPDATE")
    with capture_logs() as logs:
        submission, answer = await create(parts, "k")
    assert isinstance(answer, CreateAnswer)
    assert answer.status == 201
    [entry] = logs
    assert (entry["event"], entry["generation_id"]) == (
        "create_not_settled",
        json.loads(answer.body)["id"],
    )
    with at(settings.database_url) as connection:
        lift(connection, "submissions")
    assert await state(parts, submission) == (State.SENT, None)


@pytest.mark.thorough_on_postgres
async def test_an_answer_is_stored_when_the_database_is_back(
    parts: Parts, settings: Settings, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=1.0))
    hers, image = "https://hers.example", {"prompt": "a lake at sunset", "model": "uni-1"}
    body = json.dumps(image).encode()
    given = request("k", upstream="agents", path="generations", body=body, callback_url=hers)
    begun = await parts.gateway.creates.begin(given)
    answering = asyncio.create_task(parts.gateway.creates.answer(begun.submission))
    await asyncio.sleep(0)
    execute(settings.database_url, "ALTER TABLE submissions RENAME TO away")
    answer = await answering
    assert answer
    execute(settings.database_url, "ALTER TABLE away RENAME TO submissions")
    made = json.loads(answer.body)["id"]
    async with asyncio.timeout(10):
        while await state(parts, begun.submission) != (State.ACCEPTED, made):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    rows = execute(settings.database_url, "SELECT id, callback_url FROM generations")
    assert [*rows] == [(made, hers)]


async def test_closing_waits_for_the_answer_of_a_create_that_is_under_way(
    settings: Settings, clock: Clock, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=0.3))
    async with opened(settings, clock) as here:
        begun = await here.gateway.creates.begin(request("k"))
    async with opened(settings, clock) as restarted:
        assert (await state(restarted, begun.submission))[0] is State.ACCEPTED
        _, answer = await create(restarted, "k")
        assert isinstance(answer, Submission)
        assert answer.has_final_answer
    assert luma.count("POST") == 1


async def test_a_callers_hanging_up_cancels_no_create(parts: Parts, luma: Luma) -> None:
    luma.fault(Fault(method="POST", answer_delay=0.2))
    calling = asyncio.create_task(create(parts, "k"))
    await until_async(lambda: luma.count("POST"))
    calling.cancel()
    _, answer = await create(parts, "k")
    assert isinstance(answer, CreateAnswer)
    assert answer.status == 201
    assert luma.count("POST") == 1


async def test_a_callback_that_is_faster_than_the_answer_knows_the_create(
    parts: Parts, luma: Luma
) -> None:
    """The callback is taken in as Luma sends it, before the answer to the create."""
    hers = "https://hers.example/hook"
    frame = {"frame0": {"type": "generation", "id": "parent"}}
    asked = {**VIDEO, "callback_url": hers, "keyframes": frame}
    luma.fault(Fault(method="POST", answer_delay=1.0))
    begun = await parts.gateway.creates.begin(request(body=json.dumps(asked).encode()))
    answering = asyncio.create_task(parts.gateway.answer_of(begun.submission))
    await until_async(lambda: luma.requests and luma.requests[-1].body)
    url = json.loads(luma.requests[-1].body)["callback_url"]
    grant = CallbackTokens(["the-secret-of-the-tests"]).grant(url.rpartition("/")[2])
    assert grant
    listed = await parts.gateway.send("dream_machine", Outgoing("GET", "generations", []))
    [made] = [each["id"] for each in json.loads(await listed.read(10_000))["generations"]]
    body = json.dumps({**luma.body(made), "state": "dreaming"}).encode()

    receipt = await parts.tracker.deliveries.receive(body, grant)

    assert receipt.generation_id == made
    assert await state(parts, begun.submission) == (State.ACCEPTED, made)
    stored = (await parts.tracker.lookup(made)).generation
    assert (stored.parent_id, stored.source) == ("parent", "callback")
    answer = await answering
    assert isinstance(answer, CreateAnswer)
    assert json.loads(answer.body)["request"]["callback_url"] == hers
    row = await parts.gateway.submission(begun.submission.id)
    assert (row.state, row.generation_id, row.status) == (State.ACCEPTED, made, 201)
    assert (await parts.tracker.lookup(made)).generation.state == "dreaming"

    other = json.dumps({**luma.body(made), "id": "another"}).encode()
    with pytest.raises(Forbidden):
        await parts.tracker.deliveries.receive(other, grant)


async def test_a_claimed_generation_gives_way_to_the_one_that_luma_names(
    parts: Parts, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=0.3))
    begun = await parts.gateway.creates.begin(request())
    await until_async(lambda: luma.requests and luma.requests[-1].body)
    url = json.loads(luma.requests[-1].body)["callback_url"]
    grant = CallbackTokens(["the-secret-of-the-tests"]).grant(url.rpartition("/")[2])
    assert grant
    await parts.tracker.deliveries.receive(b'{"id": "forged", "state": "completed"}', grant)

    answer = await parts.gateway.answer_of(begun.submission)

    assert isinstance(answer, CreateAnswer)
    made = json.loads(answer.body)["id"]
    assert await state(parts, begun.submission) == (State.ACCEPTED, made)
    receipt = await parts.tracker.deliveries.receive(json.dumps(luma.body(made)).encode(), grant)
    assert receipt.generation_id == made
    with pytest.raises(Forbidden):
        await parts.tracker.deliveries.receive(b'{"id": "forged", "state": "failed"}', grant)


@pytest.mark.sqlite
async def test_a_create_waits_for_two_commits(parts: Parts) -> None:
    """One for the journal and the request budget, and one for what became of it."""
    commits = "luma_tracker_commit_writes_count"
    before = REGISTRY.get_sample_value(commits) or 0
    await create(parts)
    assert REGISTRY.get_sample_value(commits) == before + 2
