"""The body that the database builds for a row equals that of pydantic, byte for byte."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json, to_json
from sqlalchemy import Engine, delete

from service.domain.generation import Generation, Observation, Refreshable, good_until
from service.domain.merge import merge
from service.domain.query import Conditions
from service.domain.redaction import REDACTED
from service.storage import generations, listing
from service.storage.engine import Database, open_database
from service.storage.representation import Representation, Representations
from tests.databases import url_of
from tests.reference import luma_body_of, representation_of
from tests.storage.test_shape import OBSERVATIONS, row

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
QUIET = timedelta(minutes=5)


def until(row: Refreshable) -> datetime | None:
    """Return the time until which a row can be served without a fetch."""
    return good_until(row, QUIET)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def database(anyio_backend: str, engine: Engine) -> AsyncIterator[Database]:
    """One database for all examples."""
    async with open_database(url_of(engine)) as opened:
        yield opened


async def both(database: Database, generation: Generation) -> tuple[Representation, Representation]:
    """Return the representations of pydantic and of the database; a page has the same body."""
    await database.write(generations.save, [generations.Change(None, generation)])
    row = await database.read(generations.find, generation.id)
    written = await Representations(database, until).read(generation.id)
    with_luma = await Representations(database, until).read(generation.id, luma=True)
    conditions = Conditions(NOON, QUIET)
    page = await listing.page(database, listing.Query(gone=True), conditions)
    await database.write(lambda connection: connection.execute(delete(generations.GENERATIONS)))
    assert row is not None
    assert written is not None
    assert [item.body for item in page.items] == [written.body]
    assert with_luma == representation_of(row, until(row), luma=True)
    return representation_of(row, until(row)), written


async def check(database: Database, generation: Generation) -> None:
    """Assert that both representations are equal."""
    made, written = await both(database, generation)
    assert written == made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seen=OBSERVATIONS, gone=st.booleans(), rev=st.integers(1, 2**31 - 1))
async def test_whatever_is_in_the_row(
    database: Database, seen: Observation, gone: bool, rev: int
) -> None:
    generation, _ = merge(None, seen, NOON)
    await check(database, generation._replace(rev=rev, gone_at=NOON if gone else None))


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
async def test_texts_that_need_care(database: Database, text: str) -> None:
    generation = row(
        prompt=text, failure_reason=text, assets={text: text, "image": text}, state=text
    )._replace(
        request={text: [text, {text: None}], "n": [1e16, 1e-7, 0.1, -0.0, 2**70, True]},
        outputs=({"url": text},),
    )
    await check(database, generation)


async def test_assets_of_names_that_nobody_knows_yet(database: Database) -> None:
    assets = {"z": "https://z", "video": "https://v", "a": "https://a"}
    await check(database, row(assets=assets))


async def test_lumas_own_document_shows_the_creators_callback_url_in_the_place_of_ours(
    database: Database,
) -> None:
    prompt = '"callback_url":"[redacted]" \\ %s'
    request = {"callback_url": REDACTED, "prompt": prompt, "x": [{"callback_url": REDACTED}]}
    document = to_json({"id": "a", "request": request, "unknown": 1e400}, inf_nan_mode="null")
    for own in ('https://program.example/hook?a="b"&c=\\', None):
        generation = row()._replace(document=document.decode(), callback_url=own)
        _, written = await both(database, generation)
        assert written.luma_body is None
        assert from_json(luma_body_of(generation))["request"] == {
            "callback_url": own,
            "prompt": prompt,
            "x": [{"callback_url": own}],
        }


async def test_a_body_of_a_megabyte(database: Database) -> None:
    await check(database, row(request={"prompt": "x" * 1_000_000}))


async def test_a_document_as_deep_as_we_take_in(database: Database) -> None:
    deep: object = "end"
    for _ in range(126):
        deep = [deep]
    await check(database, row(request={"deep": deep}))


async def test_what_is_not_there(database: Database) -> None:
    assert Representations(database, until).read_nowait("a") is None
    assert await Representations(database, until).read("a") is None


async def test_a_row_of_the_last_moment_is_found_by_all_who_ask_at_once(database: Database) -> None:
    rows = [row()._replace(id=f"g{n}") for n in range(40)]
    representations = Representations(database, until)
    await database.write(generations.save, [generations.Change(None, each) for each in rows])

    wanted = [f"g{n % 40}" for n in range(200)] + ["nobody"] * 3
    found = await asyncio.gather(*map(representations.read, wanted))

    await database.write(lambda connection: connection.execute(delete(generations.GENERATIONS)))
    assert [each and each.id for each in found] == wanted[:200] + [None] * 3
