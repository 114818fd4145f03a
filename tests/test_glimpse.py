"""What SQLite writes of a row is what we would have made of it, to the byte."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import store
from service.db.sqlite import Sqlite
from service.generation import Generation, Observation, good_until
from service.glimpse import glimpse
from service.merge import merge
from service.shape import Shown
from tests.databases import migrated_in
from tests.test_shape import OBSERVATIONS, row

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
QUIET = timedelta(minutes=5)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a file that is migrated."""
    return migrated_in(tmp_path)


async def _both(url: str, generation: Generation) -> tuple[Shown, Shown]:
    """As the row is sent by either way."""
    async with Sqlite(url) as database:
        change = store.Change(None, generation)
        await database.write(store.save, [change])
        found = await database.read(store.find, generation.id)
        near = glimpse(database, generation.id)
        await database.write(lambda c: c.exec_driver_sql("DELETE FROM generations"))
    assert found is not None
    assert near is not None
    made = Shown.of(found, good_until(found, QUIET))
    return made, near.shown(good_until(near, QUIET))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seen=OBSERVATIONS, gone=st.booleans(), rev=st.integers(1, 2**40))
def test_whatever_is_in_the_row(url: str, seen: Observation, gone: bool, rev: int) -> None:
    generation, _ = merge(None, seen, NOON)
    generation = generation._replace(rev=rev, gone_at=NOON if gone else None)
    made, near = asyncio.run(_both(url, generation))
    assert near == made


@pytest.mark.parametrize(
    "text",
    [
        'a "quoted" \\ back\\slash',
        "".join(map(chr, range(1, 0x20))) + "\x7f",
        "100 % %s %d %%",
        "湖 \N{CAMERA} \u2028 \u2029 \ufeff \U0010ffff",
        "it's; -- DROP",
        "\\u0041",
    ],
)
def test_texts_that_need_care(url: str, text: str) -> None:
    generation = row(
        prompt=text, failure_reason=text, assets={text: text, "image": text}, state=text
    )._replace(
        request={text: [text, {text: None}], "n": [1e16, 1e-7, 0.1, -0.0, 2**70, True]},
        outputs=({"url": text},),
    )
    made, near = asyncio.run(_both(url, generation))
    assert near == made


def test_a_body_of_a_megabyte(url: str) -> None:
    made, near = asyncio.run(_both(url, row(request={"prompt": "x" * 1_000_000})))
    assert near == made


def test_a_document_as_deep_as_we_take_in(url: str) -> None:
    deep: object = "end"
    for _ in range(126):
        deep = [deep]
    made, near = asyncio.run(_both(url, row(request={"deep": deep})))
    assert near == made


def test_what_is_not_there_and_a_file_that_is_not_open(url: str) -> None:
    async def look() -> None:
        assert glimpse(Sqlite(url), "a") is None
        async with Sqlite(url) as database:
            assert glimpse(database, "a") is None

    asyncio.run(look())
