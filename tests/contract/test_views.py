"""The SQL views have the columns that docs/sql.md promises, and say what REST says."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, inspect, text

from service.domain.generation import Observation, Source
from service.storage.engine import Database, open_database
from service.storage.shape import GenerationOut
from tests.databases import url_of
from tests.single import observe

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
VIEWS = {
    name: re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    for name, section in re.findall(
        r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
}
QUERIES = [
    pytest.param(query, marks=[pytest.mark.postgres] if "percentile_cont" in query else [])
    for query in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
]


@pytest.fixture
async def database(engine: Engine) -> AsyncIterator[Database]:
    async with open_database(url_of(engine)) as opened:
        for minute, state in enumerate(("dreaming", "completed")):
            seen = Observation(
                id="a",
                upstream="dream_machine",
                source=Source.CALLBACK,
                state=state,
                operation="video",
                model="ray-2",
                created_at=NOON,
                assets={"video": "https://a.example/v.mp4"},
            )
            await opened.write(observe, seen, NOON + timedelta(minutes=minute))
        yield opened


def _rows(connection: Connection, view: str) -> list[dict[str, Any]]:
    query = text(f"SELECT * FROM {view}")  # noqa: S608 - a name of this test's
    return [dict(row) for row in connection.execute(query).mappings()]


async def test_the_views_have_the_documented_columns(database: Database, engine: Engine) -> None:
    assert set(inspect(engine).get_view_names()) == VIEWS.keys()
    for view, columns in VIEWS.items():
        assert [each["name"] for each in inspect(engine).get_columns(view)] == columns


async def test_the_views_say_what_rest_says(database: Database) -> None:
    [generation] = await database.read(_rows, "luma_generations")
    shown = set(GenerationOut.model_fields) - {"assets", "outputs", "request"}
    assert shown <= generation.keys()
    assert not generation["archived"]
    assert generation["video_url"] == "https://a.example/v.mp4"
    assert float(generation["took_seconds"]) == 60
    assert [event["to_state"] for event in await database.read(_rows, "luma_events")] == [
        "dreaming",
        "completed",
    ]
    [cost] = await database.read(_rows, "luma_costs_daily")
    assert (str(cost["day"]), cost["completed"], cost["generations"]) == ("2026-05-30", 1, 1)


@pytest.mark.parametrize("query", QUERIES)
async def test_the_documented_queries_run(database: Database, query: str) -> None:
    await database.read(lambda connection: connection.execute(text(query)).all())
