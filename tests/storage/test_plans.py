"""How queries are run at 100,000 generations: each reads an index."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, delete

from service.domain.query import Conditions, parse
from service.storage import words
from service.storage.engine import Database, open_database
from service.storage.generations import GENERATIONS
from service.storage.listing import Query, page, page_sql
from tests.databases import on_postgres, url_of

pytestmark = pytest.mark.thorough

ROWS = 100_000
NOW = Conditions(datetime(2026, 5, 30, 12, tzinfo=UTC), timedelta(seconds=30))
_COLUMNS = """id, upstream, state, generation_type, operation, model, prompt, parent_id, created_at,
    ordered_at, assets, outputs, rev, source, verified, first_seen_at, updated_at, heard_at, checks,
    refusals"""
_VALUES = """'g-' || n, CASE WHEN n % 10 = 0 THEN 'agents' ELSE 'dream_machine' END,
    CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'completed' END, 'video', 'video',
    CASE WHEN n % 1000 = 0 THEN 'ray-1' ELSE 'ray-2' END, 'a calm lake, number ' || n,
    CASE WHEN n % 500 = 0 THEN 'g-1' END, {at}, {at}, '{{}}', '[]', 1, 'fetch', {true}, {at},
    {at}, {at}, 0, 0"""
_SQLITE = f"""INSERT INTO generations ({_COLUMNS})
    WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {ROWS})
    SELECT {_VALUES.format(at="datetime('2026-05-30', -n || ' seconds') || '.000000'", true="1")}
    FROM series"""  # noqa: S608 - built from constants only
_POSTGRES = f"""INSERT INTO generations ({_COLUMNS})
    SELECT {_VALUES.format(at="timestamptz '2026-05-30' - n * interval '1 second'", true="true")}
    FROM generate_series(1, {ROWS}) AS n"""  # noqa: S608 - the same


def _fill(connection: Connection) -> None:
    connection.execute(delete(GENERATIONS))
    if on_postgres():  # whose driver takes a % for a parameter
        typed = _POSTGRES.replace("'{}', '[]'", "'{}'::json, '[]'::json")
        connection.exec_driver_sql(typed.replace("%", "%%"))
        connection.exec_driver_sql("ANALYZE generations")
    else:
        connection.exec_driver_sql(_SQLITE)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def database(anyio_backend: str, engine: Engine) -> AsyncIterator[Database]:
    """One filled database for all queries."""
    with engine.begin() as connection:
        _fill(connection)
    async with open_database(url_of(engine)) as opened:
        while await opened.write(words.advance, 2_000):
            pass
        yield opened


async def plan(database: Database, q: str) -> str:
    query = parse(q)
    narrowed = await words.narrow(database, query)
    sql, values = page_sql(Query(q=query, limit=20), database.dialect, NOW, narrowed)
    explain = "EXPLAIN" if on_postgres() else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row[-1]) for row in await database.fetch(f"{explain} {sql}", *values))


@pytest.mark.parametrize(
    ("q", "index"),
    [
        ("", "ix_generations_newest"),
        ("after:-7d", "ix_generations_newest"),
        ("state:failed before:2026-05-29", "ix_generations_by_state"),
        ("model:ray-1", "ix_generations_by_model"),
        ("upstream:agents", "ix_generations_by_upstream"),
        ("parent:g-1", "ix_generations_of_parent"),
        ("is:open", "ix_generations_open"),
        ("id:g-7", "autoindex|pkey"),
        ("unicorn", "autoindex|pkey"),
        ("state:failed unicorn", "autoindex|pkey"),
    ],
)
async def test_a_query_reads_an_index_and_sorts_little(
    database: Database, q: str, index: str
) -> None:
    steps = await plan(database, q)
    assert any(name in steps for name in index.split("|")), steps
    assert "Seq Scan on generations" not in steps
    assert "SCAN generations\n" not in f"{steps}\n"


async def test_what_is_found_is_right(database: Database) -> None:
    found = await page(database, Query(q=parse('parent:g-1 "number 1000"'), limit=200), NOW)
    assert {item.id for item in found.items} == {"g-1000", *(f"g-{n}" for n in (10000, 100000))}
