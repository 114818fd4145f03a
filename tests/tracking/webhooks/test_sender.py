"""Sending: in order, signed, retried on schedule, and fair between endpoints."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from service.bootstrap import Parts, open_parts
from service.config import Settings
from service.domain.generation import Observation, Source
from service.errors import InvalidInput, NotFound
from service.storage.attempts import Attempt
from service.tracking.callback_tokens import CallbackTokens, Grant
from service.tracking.observe import ReceivedObservation, observe
from service.tracking.webhooks.endpoints import CREATORS_ID, NewWebhook
from tests.acceptance.talk import body_of
from tests.conftest import Clock
from tests.databases import execute, one
from tests.endpoints import SECRETS, Answer, EndpointServer, serving_endpoints

LIFE = ("queued", "dreaming", "completed")


@pytest.fixture(scope="module")
def server() -> Iterator[EndpointServer]:
    with serving_endpoints() as running:
        yield running


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A path of the test's own."""
    return f"/{abs(hash(request.node.nodeid))}"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    given = {"webhook_secret": SECRETS[0], "webhook_allow": "127.0.0.0/8"}
    return Settings.model_validate(settings.model_dump() | given)


@pytest.fixture
def clock() -> Clock:
    """At the real time, as receivers refuse old messages."""
    made = Clock()
    made.now = datetime.now(UTC)
    return made


@dataclass
class Sending:
    """A service whose sender sends when the test says so."""

    parts: Parts
    server: EndpointServer
    database: str

    async def subscribe(self, path: str, **wanted: Any) -> str:
        """Add an endpoint; returns its id."""
        new = NewWebhook(url=self.server.url(path), **wanted)
        return (await self.parts.tracker.webhooks.add(new)).id

    async def call_back(self, id_: str, *states: str, **given: Any) -> None:
        """Luma calls back once for each state."""
        for state in states:
            body = json.dumps(body_of(id_, state, "video", **given)).encode()
            await self.parts.tracker.deliveries.receive(body, Grant())

    async def report(self, id_: str, state: str, clock: Clock, **given: Any) -> None:
        """Luma answers a request of ours."""
        seen = Observation(id_, "dream_machine", Source.SUBMIT, state, **given)
        await self.parts.tracker._database.write_all(observe, ReceivedObservation(seen, clock()))

    async def send(self) -> None:
        """Send all messages that are due now, and wait until that is done."""
        sender = self.parts.sender
        while await sender.start_due() or sender._sending:
            await asyncio.gather(*sender._sending, return_exceptions=True)

    async def attempts(self, webhook_id: str) -> list[Attempt]:
        """All attempts, oldest first."""
        found = await self.parts.tracker.webhooks.attempts(webhook_id, before=None, limit=100)
        return found[::-1]


@pytest.fixture
async def sending(
    settings: Settings, clock: Clock, server: EndpointServer
) -> AsyncIterator[Sending]:
    async with open_parts(settings, clock) as parts:
        yield Sending(parts, server, settings.database_url)


async def test_each_change_of_state_is_sent_in_order_and_verifies(
    sending: Sending, server: EndpointServer, path: str
) -> None:
    webhook_id = await sending.subscribe(path)
    await sending.call_back("g1", *LIFE)
    await sending.call_back("g1", "completed")  # changes no state
    await sending.send()

    received = server.received(path)
    assert server.states(path) == [*LIFE]
    assert len({each.id for each in received}) == len(LIFE)
    assert all(each.id.startswith("msg_") for each in received)
    shown = received[-1].verify()
    assert shown["type"] == "generation.completed"
    answer = await sending.parts.tracker.lookup("g1")
    assert shown["data"] == answer.representation.document()
    assert shown["timestamp"] == shown["data"]["updated_at"]
    assert [
        (a.state, a.status, a.error, a.next_at) for a in await sending.attempts(webhook_id)
    ] == [(state, 200, None, None) for state in LIFE]


async def test_an_endpoint_receives_only_what_it_wants(
    sending: Sending, server: EndpointServer, path: str
) -> None:
    await sending.subscribe(f"{path}/states", states=["completed"])
    await sending.subscribe(f"{path}/one", generation_id="g2")
    await sending.subscribe(f"{path}/words", q="LAKE g1", states=["completed"])
    for id_ in ("g1", "g2"):
        await sending.call_back(id_, *LIFE, request={"prompt": "a lake", "model": "ray-2"})
    await sending.send()

    assert server.states(f"{path}/states") == ["completed"] * 2
    assert server.states(f"{path}/one") == [*LIFE]
    assert [each.body["data"]["id"] for each in server.received(f"{path}/words")] == ["g1"]


async def test_verification_is_no_change_of_state(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    await sending.subscribe(path)
    await sending.call_back("g1", "completed")
    await sending.report("g1", "completed", clock)
    assert (await sending.parts.tracker.lookup("g1")).representation.document()["verified"]
    await sending.send()

    assert server.states(path) == ["completed"]


async def test_creators_get_lumas_own_body_and_do_not_hear_of_queued(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    url = server.url(path)
    document = json.dumps({"id": "g1", "state": "queued", "extra": 1}, separators=(",", ":"))
    await sending.report("g1", "queued", clock, callback_url=url, document=document)
    ours = f"https://ours.example/callbacks/{CallbackTokens(['a secret']).reusable()}"
    request = {"prompt": "a lake", "callback_url": ours}
    await sending.call_back("g1", "dreaming", "completed", new_field="kept", request=request)
    await sending.send()

    assert server.states(path) == ["dreaming", "completed"]
    last = server.received(path)[-1].verify()
    assert last["new_field"] == "kept"
    assert last["id"] == "g1"
    assert last["request"]["callback_url"] == url
    attempts = await sending.attempts(CREATORS_ID)
    assert [attempt.status for attempt in attempts] == [200, 200]


async def test_a_creator_whose_url_becomes_known_late_hears_of_the_present_state_once(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    await sending.call_back("g1", "dreaming")
    url = server.url(path)
    for _ in range(2):
        await sending.report("g1", "queued", clock, callback_url=url)
    await sending.call_back("g2", "queued")
    await sending.report("g2", "queued", clock, callback_url=url)
    await sending.send()

    assert server.states(path) == ["dreaming"]


async def test_without_lumas_document_a_creator_gets_its_main_fields(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    await sending.report("g1", "failed", clock, callback_url=server.url(path))
    await sending.send()

    assert server.received(path)[0].verify() == {
        "id": "g1",
        "state": "failed",
        "created_at": None,
        "failure_reason": None,
        "assets": {},
    }


async def test_retries_wait_longer_and_longer_and_then_end(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    webhook_id = await sending.subscribe(path, states=["completed"])
    server.usual[path] = Answer(503, body=b"not now")
    await sending.call_back("g1", "completed")
    waits = [5, 30, 120, 600, 3600, *[10800] * 8]
    for tried, wait in enumerate(waits, 1):
        await sending.send()
        clock.turn(wait - 0.001)
        await sending.send()
        assert len(server.received(path)) == tried
        clock.turn(0.001)
    await sending.send()
    clock.turn(10**6)
    await sending.send()

    attempts = await sending.attempts(webhook_id)
    assert len(server.received(path)) == len(attempts) == len(waits) + 1
    assert len({each.id for each in server.received(path)}) == 1
    assert len({each.raw for each in server.received(path)}) == 1
    assert {attempt.error for attempt in attempts} == {"Answered 503: not now"}
    assert attempts[-1].next_at is None
    outcome = "SELECT outcome FROM outbox WHERE webhook_id = ?"
    assert one(sending.database, outcome, webhook_id) == "failed"

    del server.usual[path]
    replayed = await sending.parts.tracker.webhooks.replay(webhook_id, attempts[0].id)
    assert replayed.error is None
    assert one(sending.database, outcome, webhook_id) == "delivered"
    assert {each.id for each in server.received(path)} == {server.received(path)[0].id}


@pytest.mark.parametrize("as_date", [False, True])
async def test_retry_after_replaces_the_wait(
    sending: Sending, server: EndpointServer, path: str, clock: Clock, as_date: bool
) -> None:
    webhook_id = await sending.subscribe(path, states=["completed"])
    clock.now = clock.now.replace(microsecond=0)
    later = format_datetime(clock.now + timedelta(seconds=90), usegmt=True)
    server.answers[path].append(Answer(429, {"Retry-After": later if as_date else "90"}))
    await sending.call_back("g1", "completed")
    await sending.send()
    clock.turn(89)
    await sending.send()
    assert len(server.received(path)) == 1
    clock.turn(1)
    await sending.send()

    assert [attempt.status for attempt in await sending.attempts(webhook_id)] == [429, 200]


async def test_410_disables_an_endpoint_until_a_test_is_accepted(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    webhook_id = await sending.subscribe(path)
    server.answers[path].append(Answer(410))
    await sending.call_back("g1", *LIFE)
    await sending.send()
    clock.turn(10**6)
    await sending.send()

    webhooks = sending.parts.tracker.webhooks
    assert server.states(path) == ["queued"]
    assert not (await webhooks.get(webhook_id)).enabled
    assert [a.next_at for a in await sending.attempts(webhook_id)] == [None]
    await sending.call_back("g2", "completed")
    server.answers[path].append(Answer(500))
    assert (await webhooks.test(webhook_id)).status == 500
    assert not (await webhooks.get(webhook_id)).enabled
    tested = await webhooks.test(webhook_id)
    assert (tested.state, tested.status, tested.generation_id) == ("test", 200, "")
    assert server.received(path)[-1].body["type"] == "webhook.test"
    await sending.call_back("g3", "completed")
    await sending.send()
    assert server.received(path)[-1].body["data"]["id"] == "g3"


async def test_a_redirect_is_a_failed_try(
    sending: Sending, server: EndpointServer, path: str
) -> None:
    webhook_id = await sending.subscribe(path)
    server.answers[path].append(Answer(307, {"Location": f"{path}/else"}))
    await sending.call_back("g1", "completed")
    await sending.send()

    [attempt] = await sending.attempts(webhook_id)
    assert (attempt.status, attempt.next_at is None) == (307, False)
    assert attempt.error == "Answered 307; redirects are not followed."
    assert server.received(f"{path}/else") == []


async def test_later_messages_wait_for_the_earlier_one_of_the_same_generation_alone(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    await sending.subscribe(path)
    server.answers[path].append(Answer(500))
    await sending.call_back("g1", *LIFE)
    await sending.send()
    await sending.call_back("g2", *LIFE)
    await sending.send()
    assert [each.body["data"]["id"] for each in server.received(path)] == ["g1", *["g2"] * 3]
    clock.turn(5)
    await sending.send()

    of_first = [each.body["data"] for each in server.received(path)]
    assert [d["state"] for d in of_first if d["id"] == "g1"] == ["queued", *LIFE]


async def test_what_waits_is_not_looked_at_again_and_again(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    webhook_id = await sending.subscribe(path)
    server.answers[path].extend([Answer(500)] * 2)
    await sending.call_back("g1", "queued")
    await sending.send()
    await sending.call_back("g1", "dreaming")
    await sending.send()

    due = "SELECT DISTINCT next_at FROM outbox WHERE webhook_id = ?"
    assert len(execute(sending.database, due, webhook_id)) == 1
    clock.turn(5)
    await sending.send()
    assert len(execute(sending.database, due, webhook_id)) == 1


async def test_a_deleted_endpoint_gets_nothing_more(
    sending: Sending, server: EndpointServer, path: str
) -> None:
    webhook_id = await sending.subscribe(path)
    await sending.call_back("g1", *LIFE)
    await sending.parts.tracker.webhooks.remove(webhook_id)
    await sending.send()

    assert server.received(path) == []
    waiting = "SELECT count(*) FROM outbox WHERE next_at IS NOT NULL"
    assert one(sending.database, waiting) == 0
    with pytest.raises(NotFound):
        await sending.parts.tracker.webhooks.attempts(webhook_id, before=None, limit=1)


async def test_a_claim_that_ran_out_is_sent_again_with_the_same_id(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    await sending.subscribe(path)
    await sending.call_back("g1", "completed")
    [lost] = await sending.parts.sender._claim()
    await sending.send()
    assert server.received(path) == []
    clock.turn(12)
    await sending.send()

    assert [each.id for each in server.received(path)] == [lost.id]
    await sending.parts.sender._attempts.make(lost)  # whoever had the claim was only slow
    assert one(sending.database, "SELECT outcome FROM outbox WHERE seq = ?", lost.seq) == (
        "delivered"
    )


async def test_both_secrets_sign(
    settings: Settings, clock: Clock, server: EndpointServer, path: str
) -> None:
    both = settings.model_dump() | {"webhook_secret": ",".join(SECRETS)}
    async with open_parts(Settings.model_validate(both), clock) as parts:
        sending = Sending(parts, server, settings.database_url)
        await sending.subscribe(path)
        await sending.call_back("g1", "completed")
        await sending.send()

    [received] = server.received(path)
    for secret in SECRETS:
        assert received.verify(secret)["data"]["id"] == "g1"


async def test_an_address_that_is_not_allowed_is_not_dialled(
    settings: Settings, clock: Clock, server: EndpointServer, path: str
) -> None:
    closed = Settings.model_validate(settings.model_dump() | {"webhook_allow": ()})
    async with open_parts(closed, clock) as parts:
        sending = Sending(parts, server, settings.database_url)
        with pytest.raises(InvalidInput):
            await sending.subscribe(path)
        port = server.server_port
        new = NewWebhook(url=f"http://localhost:{port}{path}")
        webhook_id = (await parts.tracker.webhooks.add(new)).id
        await sending.call_back("g1", "completed")
        await sending.send()
        [attempt] = await sending.attempts(webhook_id)

    assert server.received(path) == []
    assert attempt.status is None
    assert "not public" in str(attempt.error)


async def test_what_a_backfill_finds_finished_is_history(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    await sending.subscribe(path)
    for id_, state in (("g1", "completed"), ("g2", "dreaming")):
        seen = Observation(id_, "dream_machine", Source.BACKFILL, state)
        await sending.parts.tracker._database.write_all(observe, ReceivedObservation(seen, clock()))
    await sending.send()

    assert server.states(path) == ["dreaming"]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"url": "ftp://hooks.example/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "https://a.example", "states": []}, "states"),
        ({"url": "https://a.example", "states": ["done"]}, "states"),
        ({"url": "https://a.example", "generation_id": "a b"}, "generation_id"),
        ({"url": "https://a.example", "q": "\0"}, "q"),
        ({"url": "https://a.example", "q": "x" * 501}, "q"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    sending: Sending, wanted: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await sending.parts.tracker.webhooks.add(NewWebhook(**wanted))
    assert refused.value.field == field


async def test_what_is_finished_is_pruned_and_what_waits_is_measured(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    webhook_id = await sending.subscribe(path, states=["completed"])
    await sending.call_back("g1", "completed")
    await sending.send()
    server.usual[path] = Answer(500)
    await sending.call_back("g2", "completed")
    clock.turn(91 * 86_400)
    await sending.parts.maintenance.prune()
    await sending.parts.maintenance.measure_outbox()

    assert await sending.attempts(webhook_id) == []
    of_it = "SELECT generation_id FROM outbox WHERE webhook_id = ?"
    assert execute(sending.database, of_it, webhook_id) == [("g2",)]
    lag = REGISTRY.get_sample_value("luma_tracker_webhook_lag_seconds")
    assert lag == pytest.approx(91 * 86_400)


async def test_a_claim_that_ran_out_moves_no_later_message(
    sending: Sending, server: EndpointServer, path: str, clock: Clock
) -> None:
    await sending.subscribe(path)
    await sending.call_back("g1", "queued", "completed")
    [slow] = await sending.parts.sender._claim()
    clock.turn(12)
    [first] = await sending.parts.sender._claim()
    await sending.parts.sender._attempts.make(first)
    [second] = await sending.parts.sender._claim()
    server.answers[path].append(Answer(500))
    await sending.parts.sender._attempts.make(slow)

    due = one(sending.database, "SELECT next_at FROM outbox WHERE seq = ?", second.seq)
    await sending.parts.sender._attempts.make(second)
    outcomes = execute(sending.database, "SELECT outcome FROM outbox ORDER BY seq")
    assert [outcome for (outcome,) in outcomes] == ["delivered", "delivered"], due
