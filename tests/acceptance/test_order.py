"""No order of arrival gives a wrong row: every order is tried, on a real database.

What is told of one generation is told in all orders, duplicates included. Orders that begin
alike share their beginning: it is told once, in a savepoint that is rolled back for the next.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from service.domain.generation import Generation, Observation, Source, is_terminal, rank
from service.luma.bodies import parse_object
from service.luma.dream_machine import read
from service.simulator import Luma, Plan
from service.storage.events import of_generation
from service.storage.generations import find
from service.tracking.callback_tokens import Grant
from tests.acceptance.conftest import Service
from tests.acceptance.storm import life_of
from tests.single import observe, record
from tests.waiting import until

ID = "told-in-every-order"
NOON = datetime(2026, 5, 30, 13, tzinfo=UTC)
VIDEO = {"video": "https://cdn/true.mp4"}
REASON = "Advanced moderation failed"

Tell = Callable[[Connection, datetime], object]


@dataclass(frozen=True)
class Told:
    """One thing that reaches us; equal names are duplicates."""

    name: str
    tell: Tell


def body(state: str, **given: Any) -> bytes:
    """What Luma says of it in that state."""
    return json.dumps({**json.loads(life_of(ID, state)[0]), "assets": None, **given}).encode()


def callback(name: str, content: bytes) -> Told:
    return Told(name, lambda connection, at: record(connection, content, Grant(), at))


def seen(content: bytes, source: Source, at: datetime) -> Observation:
    return read(parse_object(content), source, at)


def answer(content: bytes) -> Told:
    """Luma's answer to a question that we asked just before."""

    def tell(connection: Connection, at: datetime) -> None:
        row = find(connection, ID)
        asked = seen(content, Source.FETCH, at)._replace(asked_at_rev=row.rev if row else 0)
        observe(connection, asked, at)

    return Told("answer", tell)


def late_answer(content: bytes) -> Told:
    """Luma's answer to a question that we asked before we had heard anything else."""

    def tell(connection: Connection, at: datetime) -> None:
        observe(connection, seen(content, Source.FETCH, at)._replace(asked_at_rev=0), at)

    return Told("late answer", tell)


def page(content: bytes) -> Told:
    """Luma's list; nobody knows how old a page is."""
    return Told(
        "page",
        lambda connection, at: observe(connection, seen(content, Source.BACKFILL, at), at),
    )


COMPLETED, FAILED = body("completed", assets=VIDEO), body("failed", failure_reason=REASON)
LIES = {
    COMPLETED: body("failed", failure_reason="a lie"),
    FAILED: body("completed", assets={"video": "https://evil/lie.mp4"}),
}
QUEUED = callback("queued", body("queued"))
DREAMING = callback("dreaming", body("dreaming"))
NEW_STATE = callback("new state", body("upsampling"))


def truth(content: bytes) -> Told:
    return callback("truth", content)


def lie(content: bytes) -> Told:
    return callback("lie", LIES[content])


EVERYTHING = [
    pytest.param(
        lambda end: [QUEUED, DREAMING, DREAMING, truth(end), truth(end)], id="callbacks alone"
    ),
    pytest.param(
        lambda end: [QUEUED, NEW_STATE, DREAMING, truth(end), page(body("dreaming"))],
        id="a state nobody knows, and an old page",
    ),
    pytest.param(
        lambda end: [DREAMING, truth(end), lie(end), answer(end), page(end)],
        id="a lie, an answer, a page",
    ),
    pytest.param(
        lambda end: [DREAMING, truth(end), lie(end), lie(end), late_answer(body("queued"))],
        id="two claims, and an answer that knows less",
    ),
    pytest.param(
        lambda end: [DREAMING, truth(end), lie(end), late_answer(end), page(end)],
        id="two claims, and an answer to an older question",
    ),
]


def in_every_order(
    connection: Connection, told: Sequence[Told], at: datetime = NOON
) -> Iterator[None]:
    """Tell all in every order; yields whenever all has been told."""
    if not told:
        yield
    for name in dict.fromkeys(each.name for each in told):
        index = next(n for n, each in enumerate(told) if each.name == name)
        with connection.begin_nested() as savepoint:
            told[index].tell(connection, at)
            rest = [*told[:index], *told[index + 1 :]]
            yield from in_every_order(connection, rest, at + timedelta(seconds=1))
            savepoint.rollback()


def row_of(connection: Connection) -> Generation:
    row = find(connection, ID)
    assert row
    return row


def settle(connection: Connection, content: bytes) -> Generation:
    """The row once nothing is due about it any more: Luma is asked, as the reconciler would."""
    for minutes in range(1, 4):
        row = row_of(connection)
        if row.next_check_at is None:
            return row
        answer(content).tell(connection, NOON + timedelta(minutes=minutes))
    return row_of(connection)


def check_history(connection: Connection) -> None:
    """It reads forward: no gaps, and backward only where Luma itself overruled a claim."""
    events = of_generation(connection, ID, after=0, limit=100)
    assert [event.rev for event in events] == list(range(1, len(events) + 1))
    assert row_of(connection).rev == len(events)
    assert row_of(connection).state == events[-1].to_state
    before = None
    for event in events:
        assert event.from_state == before
        if before and is_terminal(before) and event.to_state != before:
            assert event.source == Source.FETCH
        elif before:
            assert rank(event.to_state) >= rank(before)
        before = event.to_state


def check_row(row: Generation, end: bytes) -> None:
    """It is what Luma says it is, and nothing is left of any lie."""
    assert row.verified
    assert row.next_check_at is None
    assert row.finished_at
    assert row.prompt == "a storm"
    if end == COMPLETED:
        assert (row.state, dict(row.assets), row.failure_reason) == ("completed", VIDEO, None)
    else:
        assert (row.state, dict(row.assets), row.failure_reason) == ("failed", {}, REASON)


ENDS = [
    pytest.param(COMPLETED, id="completed"),
    pytest.param(FAILED, id="failed", marks=pytest.mark.either_database),
]


@pytest.mark.thorough_on_postgres
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("told", EVERYTHING)
def test_every_order_ends_in_the_right_row(
    connection: Connection, told: Callable[[bytes], list[Told]], end: bytes
) -> None:
    orders = 0
    for _ in in_every_order(connection, told(end)):
        orders += 1
        row = row_of(connection)
        assert row.terminal
        assert row.verified or row.next_check_at is not None  # then it is asked about
        check_history(connection)
        check_row(settle(connection, end), end)
        check_history(connection)
    assert orders >= 30


@pytest.mark.thorough_on_postgres
def test_without_any_lie_the_state_is_right_before_luma_is_asked(connection: Connection) -> None:
    told = [QUEUED, DREAMING, DREAMING, truth(COMPLETED), page(body("queued"))]
    for _ in in_every_order(connection, told):
        row = row_of(connection)
        assert (row.state, dict(row.assets)) == ("completed", VIDEO)


@pytest.mark.thorough_on_postgres
def test_a_confirmed_end_is_immune_in_every_order(connection: Connection) -> None:
    answer(COMPLETED).tell(connection, NOON)
    before = row_of(connection)
    other = callback("other assets", body("completed", assets={"video": "https://evil/lie.mp4"}))
    told = [DREAMING, other, lie(COMPLETED), truth(COMPLETED), page(body("dreaming"))]
    for _ in in_every_order(connection, told, NOON + timedelta(seconds=1)):
        row = row_of(connection)
        assert row.next_check_at is None
        assert row._replace(heard_at=before.heard_at, checks=before.checks) == before
        assert len(of_generation(connection, ID, after=0, limit=100)) == 1


def history(service: Service, generation_id: str) -> list[tuple[str, str, int]]:
    """State, source and rev of every change."""
    url = f"{service.url}/v1/generations/{generation_id}/events"
    items = httpx.get(url).json()["items"]
    return [(item["to_state"], item["source"], item["rev"]) for item in items]


@pytest.mark.thorough_on_postgres
def test_a_forged_end_is_overruled_by_one_question_and_the_true_end_still_comes(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    service = start_service(LUMA_AGENTS_API_KEY="")
    generation_id = luma.create(
        callback_url=service.callback_url, plan=Plan(queued=1, dreaming=1000)
    )
    luma.advance(5)
    [forged] = life_of(generation_id, "failed")

    told = httpx.post(service.callback_url, content=forged)
    until(lambda: len(history(service, generation_id)) == 3)
    shown = httpx.get(f"{service.url}/v1/generations/{generation_id}").json()

    assert told.json() == {"outcome": "applied"}
    assert luma.count("GET") == 1
    assert history(service, generation_id) == [
        ("dreaming", "callback", 1),
        ("failed", "callback", 2),
        ("dreaming", "fetch", 3),
    ]
    assert (shown["state"], shown["verified"], shown["finished_at"]) == ("dreaming", True, None)

    luma.advance(2000)
    until(lambda: len(history(service, generation_id)) == 5)
    shown = httpx.get(f"{service.url}/v1/generations/{generation_id}").json()
    assert history(service, generation_id)[3:] == [
        ("completed", "callback", 4),
        ("completed", "fetch", 5),
    ]
    assert (shown["state"], shown["verified"]) == ("completed", True)
    assert luma.count("GET") == 2
