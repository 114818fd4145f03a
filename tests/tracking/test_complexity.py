"""The cost of each operation in SQL statements and requests to Luma, whatever the data volume.

Counted, not timed: SQLAlchemy reports each statement that it sends, to either database; the
simulator records each request. Lookups and lists bypass SQLAlchemy: see test_grouped.py.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from service.bootstrap import open_tracker
from service.config import Settings
from service.simulator import Luma
from service.storage.listing import Query
from service.tracking.callback_tokens import Grant
from service.tracking.tracker import Tracker
from tests.conftest import PAYLOADS, Clock
from tests.databases import on_postgres

BODY = PAYLOADS["CONSTRUCTED_video_dreaming"]
MANY = 50
UNKNOWN = "of-luma"

Operation = Callable[[Tracker], Awaitable[object]]


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect all statements that are sent inside this context, on all connections.

    Leaves out BEGIN, and the reads of events by `Changes`, which run independently.
    """
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if not statement.startswith("BEGIN") and "FROM events" not in statement:
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
async def alone(settings: Settings, clock: Clock) -> AsyncIterator[Tracker]:
    """A tracker with a key for one upstream only."""
    one = settings.model_copy(update={"luma_agents_api_key": None})
    async with open_tracker(one, clock) as tracker:
        yield tracker


def body(number: int, state: str) -> bytes:
    """Return a callback's body for the n-th generation."""
    return json.dumps({**BODY, "id": f"g-{number}", "state": state}).encode()


def callbacks(count: int, state: str, *, single: bool = False) -> Operation:
    """Receive callbacks concurrently, each for a different generation."""

    async def receive(tracker: Tracker) -> object:
        grants = [Grant(f"nonce-{n}" if single else None) for n in range(count)]
        told = (tracker.deliveries.receive(body(n, state), grants[n]) for n in range(count))
        return await asyncio.gather(*told)

    return receive


def lookups(count: int, generation_id: str) -> Operation:
    """Look up one generation concurrently."""

    async def look(tracker: Tracker) -> object:
        return await asyncio.gather(*(tracker.lookup(generation_id) for _ in range(count)))

    return look


def pages(limit: int) -> Operation:
    """Read one page of the list."""
    return lambda tracker: tracker.page(Query(limit=limit))


STATEMENTS: list[tuple[str, Operation, int]] = [
    ("one callback of a new generation", callbacks(1, "completed"), 9),
    ("many of new ones", callbacks(MANY, "completed"), 7),
    ("many with single tokens", callbacks(MANY, "completed", single=True), 10),
    ("one of a known generation", callbacks(1, "failed"), 9),
]

REQUESTS: list[tuple[str, Operation, int]] = [
    ("many callbacks", callbacks(MANY, "completed"), 0),
    ("many lookups that hit", lookups(MANY, "known"), 0),
    ("a page", pages(200), 0),
    ("a lookup that misses", lookups(1, UNKNOWN), 1),
    ("many that miss at once", lookups(MANY, UNKNOWN), 1),
]


async def know(tracker: Tracker) -> None:
    """Store one generation."""
    await tracker.deliveries.receive(json.dumps({**BODY, "id": "known"}).encode(), Grant())


@pytest.mark.parametrize(
    ("operation", "most"), [pytest.param(o, most, id=name) for name, o, most in STATEMENTS]
)
async def test_statements_are_few_however_much_there_is(
    alone: Tracker, operation: Operation, most: int
) -> None:
    await know(alone)
    with statements() as sent:
        await operation(alone)
    assert len(sent) <= most + on_postgres(), sent  # there, events are numbered under a lock


async def test_many_callbacks_cost_no_more_statements_than_one(alone: Tracker) -> None:
    await callbacks(MANY, "queued")(alone)
    with statements() as for_one:
        await callbacks(1, "dreaming")(alone)
    with statements() as for_many:
        await callbacks(MANY, "completed")(alone)
    assert len(for_many) <= len(for_one)


@pytest.mark.parametrize(
    ("operation", "requests"), [pytest.param(o, count, id=name) for name, o, count in REQUESTS]
)
async def test_luma_is_asked_only_what_nobody_told(
    alone: Tracker, luma: Luma, operation: Operation, requests: int
) -> None:
    luma.create(id=UNKNOWN)
    await know(alone)
    await operation(alone)
    assert luma.count() == requests
