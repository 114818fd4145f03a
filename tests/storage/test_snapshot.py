"""What messages show of a row that is not stored yet equals what the database shows of it then."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from service.domain.generation import Generation, Observation
from service.domain.merge import merge
from service.storage import generations
from service.storage.engine import Database, Dialect, open_database
from service.storage.representation import body_sql, luma_body_sql
from service.storage.snapshot import body_of, creators_body_of
from tests.databases import on_postgres, url_of
from tests.storage.test_shape import OBSERVATIONS, row

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
DIALECT = Dialect.POSTGRES if on_postgres() else Dialect.SQLITE
_EXAMPLES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def database(anyio_backend: str, engine: Engine) -> AsyncIterator[Database]:
    """One database for all examples."""
    async with open_database(url_of(engine)) as opened:
        yield opened


def stored(connection: Connection, generation: Generation, expression: str) -> bytes | None:
    """Store a row in a savepoint, and return what an expression of SQL makes of it."""
    with connection.begin_nested() as savepoint:
        generations.save(connection, [generations.Change(None, generation)])
        query = f"SELECT {expression} FROM generations"  # noqa: S608 - our own expression
        value = connection.exec_driver_sql(query.replace("%", "%%") if on_postgres() else query)
        found = value.scalar()
        savepoint.rollback()
    return None if found is None else bytes(found)


@_EXAMPLES
@given(seen=OBSERVATIONS, cost=st.none() | st.sampled_from([0.0, 0.71, 12.0, 0.0042]))
def test_the_body_is_the_one_that_the_database_builds(
    connection: Connection, seen: Observation, cost: float | None
) -> None:
    generation = merge(None, seen, NOON)[0]._replace(cost_usd_estimate=cost)
    assert body_of(generation) == stored(connection, generation, body_sql(DIALECT))


@_EXAMPLES
@given(url=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_lumas_document_is_the_one_that_the_database_builds(
    connection: Connection, url: str | None
) -> None:
    document = '{"id":"a","request":{"callback_url":"[redacted]","prompt":"callback_url"}}'
    generation = row(document=document, callback_url=url)
    assert creators_body_of(generation) == stored(connection, generation, luma_body_sql(DIALECT))
