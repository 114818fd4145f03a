"""Counters equal a recount of the rows, whatever has been observed in whatever order."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, select

from service.domain.counting import OF_ROWS, Key, Name, day_of, facts
from service.domain.generation import Observation, Source
from service.storage import counters, generations
from service.storage.engine import Database, open_database
from service.storage.events import EVENTS
from service.storage.generations import COLUMNS, GENERATIONS, as_generation
from service.tracking.observe import ReceivedObservation, observe
from tests.databases import url_of

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
_DAYS = st.sampled_from([None, NOON, NOON + timedelta(days=1), datetime(9999, 12, 31, tzinfo=UTC)])
_OBSERVATIONS = st.builds(
    partial(Observation),  # of Observation itself, other fields would be drawn, too
    id=st.sampled_from(["a", "b", "c"]),
    upstream=st.sampled_from(["dream_machine", "agents"]),
    source=st.sampled_from(Source),
    state=st.sampled_from([None, "queued", "dreaming", "completed", "failed", "new" * 40]),
    operation=st.sampled_from([None, "video", "image"]),
    model=st.sampled_from([None, "ray-2", "photon-1", "x" * 300]),
    created_at=_DAYS,
    failure_reason=st.sampled_from([None, "moderated", "y" * 300]),
    gone=st.booleans(),
    asked_at_rev=st.sampled_from([None, 1, 2]),
)
_BATCHES = st.lists(st.lists(_OBSERVATIONS, min_size=1, max_size=4), max_size=5)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def database(anyio_backend: str, engine: Engine) -> AsyncIterator[Database]:
    """One database for all examples."""
    async with open_database(url_of(engine)) as opened:
        yield opened


def _empty(connection: Connection) -> None:
    for table in (GENERATIONS, EVENTS, counters.COUNTERS):
        connection.execute(delete(table))


def _rows(connection: Connection) -> Counter[Key]:
    found = connection.execute(select(*COLUMNS)).mappings()
    rows = map(as_generation, found)
    counted = Counter[Key]()
    for key, value in chain.from_iterable(facts(row, day_of(row)) for row in rows):
        counted[key] += value
    return +counted


def _counted(connection: Connection) -> Counter[Key]:
    found = connection.execute(select(counters.COUNTERS)).mappings()
    keyed = {Key(*(row[name] for name in Key._fields)): row["value"] for row in found}
    return +Counter({key: value for key, value in keyed.items() if key.name in OF_ROWS})


def _store(connection: Connection, batch: list[Observation], minute: int) -> None:
    at = NOON + timedelta(minutes=minute)
    observe(connection, [ReceivedObservation(each, at) for each in batch])


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(_BATCHES)
async def test_counters_are_the_sums_of_the_rows(
    database: Database, batches: list[list[Observation]]
) -> None:
    await database.write(_empty)
    for minute, batch in enumerate(batches):
        await database.write(_store, batch, minute)

    assert await database.read(_counted) == await database.read(_rows)

    day = None
    while day := (await database.write(counters.recount_next, day, 1))[0]:
        assert await database.read(_counted) == await database.read(_rows)


async def test_rows_from_before_there_were_counters_are_counted_day_by_day(
    database: Database,
) -> None:
    await database.write(_empty)
    for number, created in enumerate((NOON, NOON + timedelta(days=2), None)):
        seen = Observation(
            id=f"g{number}",
            upstream="agents",
            source=Source.FETCH,
            state="failed",
            created_at=created,
        )
        await database.write(_store, [seen], 3 * 24 * 60)
    await database.write(lambda c: c.execute(delete(counters.COUNTERS)))

    days, day = [], None
    while day := (await database.write(counters.recount_next, day, 1))[0]:
        days.append(day)

    assert days == ["2026-05-30", "2026-06-01", "2026-06-02"]
    assert await database.read(_counted) == await database.read(_rows)
    assert await database.read(counters.by_state) == {"failed": 3}


async def test_the_source_that_first_told_the_end_is_counted_once(database: Database) -> None:
    await database.write(_empty)
    steps: list[dict[str, Any]] = [
        {"source": Source.SUBMIT, "state": "queued"},
        {"source": Source.CALLBACK, "state": "completed"},
        {"source": Source.FETCH, "state": "completed"},
    ]
    for minute, step in enumerate(steps):
        seen = Observation(id="a", upstream="dream_machine", **step)
        await database.write(_store, [seen], minute)
    told = await database.read(counters.read, [Name.TOLD], None, None)
    assert [(each.key, each.value) for each in told] == [("callback", 1)]


async def test_a_generation_that_is_gone_is_not_counted(database: Database) -> None:
    await database.write(_empty)
    row = Observation(id="a", upstream="agents", source=Source.FETCH, state="completed")
    await database.write(_store, [row], 0)
    gone = Observation(id="a", upstream="agents", source=Source.FETCH, deleted=True)
    await database.write(_store, [gone], 1)
    assert await database.read(_counted) == Counter()
    assert await database.read(generations.find, "a")
