"""A query means the same for a list, which the database searches, and for a webhook."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from service.domain.generation import Generation, Observation, Source
from service.domain.merge import merge
from service.domain.query import Conditions, Query, matches, parse
from service.storage import generations, listing
from service.storage.engine import Database, open_database
from tests.databases import url_of

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
NOW = Conditions(NOON, timedelta(seconds=30))
_WORDS = (
    st.text("abAB éÉ%_!'", max_size=6)
    | st.text("ΑασςΣ ıiIİkK\N{KELVIN SIGN}\N{COMBINING DOT ABOVE}", max_size=4)
    | st.text("iİk\N{KELVIN SIGN}", max_size=2)
    | st.text("σςΣ", max_size=2)
)
_TEXT = st.none() | _WORDS
_SOON = st.sampled_from([-3600, -60, -30.000001, -30, -1, 0, 90])
_TIMES = _SOON.map(lambda seconds: NOON + timedelta(seconds=seconds))
_STATES = ["queued", "dreaming", "completed", "failed", "new", "Paused"]


@st.composite
def _rows(draw: st.DrawFn) -> Generation:
    seen = Observation(
        id=draw(st.sampled_from(["a", "B_1", "c:d"])),
        upstream=draw(st.sampled_from(["dream_machine", "agents"])),
        source=draw(st.sampled_from(Source)),
        state=draw(st.none() | st.sampled_from(_STATES)),
        generation_type=draw(st.sampled_from([None, "video", "image", "Mesh"])),
        operation=draw(st.sampled_from([None, "video", "add_audio", "Dub"])),
        model=draw(st.sampled_from([None, "ray-2", "Ray 2"])),
        prompt=draw(_TEXT),
        failure_reason=draw(_TEXT),
        failure_code=draw(_TEXT),
        parent_id=draw(st.sampled_from([None, "a", "p"])),
        assets=draw(st.sampled_from([{}, {"video": "https://a.example/v.mp4"}])),
        created_at=draw(st.none() | _TIMES),
    )
    row = merge(None, seen, draw(_TIMES))[0]
    return row._replace(
        cost_usd_estimate=draw(st.sampled_from([None, 0.0, 0.5, 1.25])),
        gone_at=draw(st.sampled_from([None, NOON])),
        finished_at=draw(st.none() | _TIMES),
    )


_CONDITIONS = st.sampled_from(
    [
        *("state:queued,failed", "state:new", "upstream:agents", "type:video", "operation:video"),
        *("state:Paused", "state:Failed,Paused", "type:Mesh", "operation:Video,Dub"),
        *("model:ray-2", 'model:"Ray 2",x', "id:a,c:d", "parent:a", "source:callback,fetch"),
        *("is:terminal", "is:open", "is:stale", "is:gone", "is:verified", "is:archived"),
        *("is:open,gone", "is:stale,verified", "after:-30s", "before:-1s", "after:-1h"),
        *("after:2026-05-30T12:00:00Z", "before:2026-05-30T12:00:00Z", "before:2026-05-31"),
        *("cost:>0.5", "cost:>=0.5", "cost:<0.5", "cost:<=1.25", "cost:0.5"),
        *("took:>60s", "took:>=30s", "took:<1h", "took:<=0s", "took:150s"),
    ]
).map(parse)
_ONES = _CONDITIONS | _WORDS.map(lambda word: parse(" ".join(f'"{w}"' for w in word.split())))
_QUERIES = st.lists(st.tuples(_ONES, st.booleans()), min_size=1, max_size=3).map(
    lambda ones: Query(tuple(_negated(term, no) for query, no in ones for term in query.terms))
)


def _negated(term: Any, no: bool) -> Any:
    return type(term)(**{**{n: getattr(term, n) for n in term.__slots__}, "negated": no})


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def database(anyio_backend: str, engine: Engine) -> AsyncIterator[Database]:
    """One database for all examples."""
    async with open_database(url_of(engine)) as opened:
        yield opened


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(row=_rows(), queries=st.lists(_QUERIES, min_size=4, max_size=12))
async def test_a_query_means_the_same_in_the_database_and_for_a_webhook(
    database: Database, row: Generation, queries: list[Query]
) -> None:
    await database.write(generations.save, [generations.Change(None, row)])
    try:
        for query in queries:
            page = await listing.page(database, listing.Query(q=query, gone=True), NOW)
            assert matches(query, row, NOW) is bool(page.items), str(query)
    finally:
        await database.write(lambda connection: connection.execute(delete(generations.GENERATIONS)))
