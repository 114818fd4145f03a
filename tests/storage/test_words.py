"""The index of words finds what looking at every generation finds, and reads little for it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete

from service.domain.generation import Observation, Source
from service.domain.query import Conditions, parse
from service.storage import words
from service.storage.engine import Database, open_database
from service.storage.events import EVENTS
from service.storage.generations import GENERATIONS
from service.storage.listing import Query, page, page_sql
from tests.databases import on_postgres, url_of
from tests.single import observe

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
NOW = Conditions(NOON, timedelta(seconds=30))


@pytest.fixture
async def database(engine: Engine) -> AsyncIterator[Database]:
    """An open database that is emptied afterwards."""
    async with open_database(url_of(engine)) as opened:
        yield opened
        await opened.write(_empty)


def _empty(connection: Connection) -> None:
    for table in (GENERATIONS, EVENTS, words.TEXTS, words.INDEX):
        connection.execute(delete(table))
    if not on_postgres():
        connection.exec_driver_sql("DROP TABLE IF EXISTS trigrams")


async def put(database: Database, id_: str, **given: Any) -> None:
    seen = Observation(id=id_, upstream="dream_machine", source=Source.FETCH, **given)
    await database.write(observe, seen, NOON)


async def index(database: Database, limit: int = 2) -> None:
    """Index everything, in small steps."""
    while await database.write(words.advance, limit):
        pass


async def narrowed(database: Database, q: str) -> set[str] | None:
    found = await words.narrow(database, parse(q))
    return None if found is None else set(found.ids)


async def ids(database: Database, q: str) -> list[str]:
    found = await page(database, Query(q=parse(q)), NOW)
    return sorted(item.id for item in found.items)


async def test_what_was_there_before_and_what_comes_later_is_found(database: Database) -> None:
    for n in range(5):
        await put(database, f"old-{n}", prompt=f"A Lake, number {n}")
    assert await narrowed(database, "lake") is None, "there is no index yet"
    assert await ids(database, "lake") == [f"old-{n}" for n in range(5)]

    await index(database)
    await put(database, "new", prompt="another lake")

    assert await narrowed(database, "LAKE") == {f"old-{n}" for n in range(5)}
    assert await ids(database, "lake") == ["new", *(f"old-{n}" for n in range(5))]
    await index(database)
    assert await narrowed(database, "lake") == {"new", *(f"old-{n}" for n in range(5))}


async def test_a_text_that_changes_is_found_by_what_it_is_now(database: Database) -> None:
    await put(database, "a", prompt="a lake")
    await index(database)
    await put(database, "a", state="failed", failure_reason="Moderated: 100% %_!'\"\\ Ärger")
    assert await ids(database, "moderated") == ["a"], "although it is not indexed yet"
    await index(database)

    for q in ("moderated", "lake moderated", "ÄRGER", '"% %_!"', '"\'\\"\\\\ ä"', "a -forest"):
        assert await ids(database, q) == ["a"], q
    for q in ("forest", "lake forest", "lake -moderated", '"lake moderated"', "100_"):
        assert await ids(database, q) == [], q


@pytest.mark.parametrize("is_indexed", [False, True], ids=["without index", "with index"])
async def test_a_word_finds_its_own_text_in_any_script_and_case(
    database: Database, is_indexed: bool
) -> None:
    prompts = {"street": "ΟΔΟΣ ΕΡΜΟΥ", "city": "ΑΘΗΝΑΣ", "night": "İstanbul at night, 300 \u212a"}
    for id_, prompt in prompts.items():
        await put(database, id_, prompt=prompt)
    if is_indexed:
        await index(database)

    expected = {
        "street": ("ΟΔΟΣ", "οδος", "οδοσ", '"ΟΔΟΣ ΕΡΜΟΥ"', "ΔΟΣ", "-αθηνας -İstanbul"),
        "city": ("ΑΘΗΝΑΣ", "αθηνας", "Αθηνασ", "-οδος -istanbul"),
        "night": ("İstanbul", "istanbul", "ISTANBUL", "İSTANBUL", '"300 k"', '"300 K"'),
    }
    for id_, queries in expected.items():
        for q in queries:
            assert await ids(database, q) == [id_], q
            if is_indexed and not q.startswith("-"):
                assert await narrowed(database, q) == {id_}, q


async def test_short_negated_and_common_words_are_looked_for_everywhere(database: Database) -> None:
    await put(database, "a", prompt="a lake")
    await index(database)
    for q in ("la", "-lake", "state:queued", ""):
        assert await narrowed(database, q) is None, q
    assert await ids(database, "la") == ["a"]


async def test_a_generation_is_indexed_once_for_each_text(database: Database) -> None:
    for state in ("queued", "dreaming", "completed"):
        await put(database, "a", prompt="a lake", state=state)
        await index(database)
    entries = await database.fetch("SELECT count(*) FROM texts")
    assert entries[0][0] == 1


@pytest.mark.sqlite
async def test_a_word_reads_the_generations_that_may_have_it_and_no_others(
    database: Database,
) -> None:
    await put(database, "a", prompt="a lake")
    await index(database)
    found = await words.narrow(database, parse("lake"))
    sql, values = page_sql(Query(q=parse("lake")), database.dialect, NOW, found)
    steps = [row[-1] for row in await database.fetch(f"EXPLAIN QUERY PLAN {sql}", *values)]

    assert any("SEARCH generations USING INDEX sqlite_autoindex" in step for step in steps), steps
    assert not any("SCAN generations" in step for step in steps), steps
    assert any("SEARCH events USING INTEGER PRIMARY KEY" in step for step in steps), steps
