"""Pages of generations: filters, orders, and cursors that neither skip nor repeat."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete

from service.domain.generation import Observation, Source
from service.domain.query import Conditions, parse
from service.errors import InvalidInput
from service.storage.engine import Database, open_database
from service.storage.generations import GENERATIONS
from service.storage.listing import Query, Sort, page, page_sql
from tests.databases import url_of
from tests.single import observe

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
NOW = Conditions(NOON, timedelta(seconds=30))


@pytest.fixture
async def database(engine: Engine) -> AsyncIterator[Database]:
    """An open database that is emptied afterwards."""
    async with open_database(url_of(engine)) as opened:
        yield opened
        await opened.write(lambda connection: connection.execute(delete(GENERATIONS)))


async def put(database: Database, id_: str, minute: float = 0, **given: Any) -> None:
    """Save a generation, first seen that many minutes after noon."""
    values: dict[str, Any] = {"upstream": "dream_machine", "source": Source.FETCH, **given}
    seen = Observation(id=id_, **values)
    await database.write(observe, seen, NOON + timedelta(minutes=minute))


async def ids(database: Database, **asked: Any) -> list[str]:
    """Return the ids of a page; `q` is a text."""
    asked["q"] = parse(asked.get("q", ""))
    return [item.id for item in (await page(database, Query(**asked), NOW)).items]


async def test_nothing_is_an_empty_last_page(database: Database) -> None:
    found = await page(database, Query(), NOW)
    assert (found.items, found.next_cursor) == ([], None)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.CREATED_DOWN, "cba"),
        (Sort.CREATED_UP, "abc"),
        (Sort.UPDATED_DOWN, "acb"),
        (Sort.UPDATED_UP, "bca"),
    ],
)
async def test_every_order_is_kept(database: Database, sort: Sort, order: str) -> None:
    for minute, id_ in enumerate("abc"):
        await put(database, id_, minute, state="queued")
    await put(database, "a", 9, state="completed")
    assert await ids(database, sort=sort) == list(order)


async def test_the_order_is_by_lumas_time_where_luma_told_it(database: Database) -> None:
    await put(database, "old", 5, created_at=NOON - timedelta(days=1))
    await put(database, "untold", 1)
    await put(database, "new", 0, created_at=NOON + timedelta(minutes=2))
    assert await ids(database) == ["new", "untold", "old"]
    await put(database, "untold", 9, created_at=NOON - timedelta(days=2))
    assert await ids(database) == ["new", "old", "untold"]


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 12, 13])
async def test_pages_hold_every_row_once_even_of_one_moment(
    database: Database, sort: Sort, limit: int
) -> None:
    for n in range(13):
        await put(database, f"g{n:02}", n // 4)  # four at a time
    found: list[str] = []
    cursor: str | None = None
    for _ in range(14):
        one = await page(database, Query(sort=sort, limit=limit, cursor=cursor), NOW)
        assert len(one.items) <= limit
        found += [generation.id for generation in one.items]
        cursor = one.next_cursor
        if cursor is None:
            break
    assert found == await ids(database, sort=sort, limit=200)
    assert len(set(found)) == 13


@pytest.mark.parametrize("sort", Sort)
async def test_what_is_before_a_page_is_listed_from_the_other_end(
    database: Database, sort: Sort
) -> None:
    for number in range(5):
        await put(database, f"g{number}", minute=number // 2)  # some of one moment
    everything = await ids(database, sort=sort)
    first = await page(database, Query(sort=sort, limit=2), NOW)
    second = await page(database, Query(sort=sort, limit=2, cursor=first.next_cursor), NOW)
    before = Query(sort=sort.opposite, limit=9, cursor=second.first_cursor)

    found = [item.id for item in (await page(database, before, NOW)).items]

    assert found[::-1] == everything[:2]


async def test_rows_that_come_in_meanwhile_move_nothing(database: Database) -> None:
    for n in range(6):
        await put(database, f"g{n}", n)
    first = await page(database, Query(limit=3), NOW)
    await put(database, "newer", 100)
    assert [g.id for g in first.items] == ["g5", "g4", "g3"]
    assert await ids(database, limit=3, cursor=first.next_cursor) == ["g2", "g1", "g0"]


async def test_an_offset_skips(database: Database) -> None:
    for n in range(4):
        await put(database, f"g{n}", n)
    assert await ids(database, offset=1, limit=2) == ["g2", "g1"]
    assert await ids(database, offset=9) == []


@pytest.mark.parametrize(
    "name", ["state", "generation_type", "operation", "model", "upstream", "id"]
)
async def test_each_filter_takes_any_of_its_values(database: Database, name: str) -> None:
    for minute, value in enumerate("xyz"):
        given = {"id_": value} if name == "id" else {"id_": f"id-{value}", name: value}
        await put(database, minute=minute, **given)
    wanted: dict[str, Any] = {name: ("x", "z", "none")}
    found = (await page(database, Query(**wanted), NOW)).items
    assert [getattr(g.generation(), name) for g in found] == ["z", "x"]


async def test_all_filters_must_hold(database: Database) -> None:
    await put(database, "a", state="queued", model="m")
    await put(database, "b", state="queued", model="n")
    await put(database, "c", state="failed", model="m")
    assert await ids(database, state=("queued",), model=("m",)) == ["a"]


async def test_a_span_of_time_is_open_at_both_ends(database: Database) -> None:
    for minute in range(5):
        await put(database, f"g{minute}", minute)
    after, before = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    assert await ids(database, created_after=after) == ["g4", "g3", "g2"]
    assert await ids(database, created_before=before) == ["g2", "g1", "g0"]
    assert await ids(database, created_after=after, created_before=before) == ["g2"]


async def test_a_time_in_another_zone_is_the_same_time(database: Database) -> None:
    await put(database, "a", 1)
    offset = datetime.fromisoformat("2026-05-30T15:00:30+03:00")
    assert await ids(database, created_after=offset) == ["a"]
    assert await ids(database, created_before=offset) == []


async def test_what_is_gone_is_shown_only_if_asked_for(database: Database) -> None:
    await put(database, "a")
    await put(database, "b", 1)
    await put(database, "a", 2, gone=True)
    assert await ids(database) == ["b", "a"], "one not-found answer is not enough"
    await put(database, "a", 3, gone=True)
    assert await ids(database) == ["b"]
    assert await ids(database, gone=True) == ["b", "a"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("lake", {"a"}),
        ("LAKE", {"a"}),
        ("mount lak", {"a"}),
        ("lake forest", set()),
        ("  ", {"a", "b", "c", "d", "id_e"}),
        ("", {"a", "b", "c", "d", "id_e"}),
        ("100%", {"b"}),
        ("%", {"b"}),
        ("_", {"id_e", "d"}),
        ("\\", {"b"}),
        ("'", {"b"}),
        ("id_e", {"id_e"}),
        ("moderation", {"c"}),
        ("content_moderated", {"d"}),
        ("nothing", set()),
    ],
)
async def test_all_words_must_be_in_prompt_id_or_failure(
    database: Database, q: str, found: set[str]
) -> None:
    await put(database, "a", prompt="A Lake in the mountains")
    await put(database, "b", prompt="100% \\ it's")
    await put(database, "c", failure_reason="Frame moderation failed")
    await put(database, "d", failure_code="content_moderated")
    await put(database, "id_e")
    assert set(await ids(database, q=q)) == found


@pytest.mark.parametrize(
    "q",
    [
        *("Ärger", "ärger", "ÄRGER", "ÉTÉ", "Москва", "москва", "湖"),
        pytest.param("İ", marks=pytest.mark.sqlite),  # PostgreSQL lowers it by locale
    ],
)
async def test_words_are_found_whatever_their_letters(database: Database, q: str) -> None:
    await put(database, "a", prompt="Ärger im Été, Москва, 湖, İstanbul")
    assert await ids(database, q=q) == ["a"]


async def test_a_query_may_be_as_long_as_any_surface_takes_it(database: Database) -> None:
    await put(database, "a", prompt="x " * 250)
    assert await ids(database, q="x " * 250) == ["a"]


def encoded(place: str) -> str:
    """Encode a cursor."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "not base64!",
        "é",
        "=",
        "AAAA",
        "\N{KELVIN SIGN}AAA",
        base64.urlsafe_b64encode(b"\xff\xfe|x|y").decode(),
        encoded("-created_at"),
        encoded("-created_at|yesterday|a"),
        encoded("-created_at||a"),
        encoded("newest|2026-05-30T12:00:00+00:00|a"),
        encoded("created_at|2026-05-30T12:00:00+00:00|a"),
        encoded("-created_at|0001-01-01T00:00:00+14:00|a"),
        encoded("-created_at|9999-12-31T23:59:59-14:00|a"),
    ],
)
async def test_a_cursor_that_is_not_ours_is_refused(database: Database, cursor: str) -> None:
    await put(database, "a")
    with pytest.raises(InvalidInput) as error:
        await page(database, Query(cursor=cursor), NOW)
    assert error.value.field == "cursor"
    assert error.value.hint


async def test_a_cursor_holds_for_its_own_order_only(database: Database) -> None:
    for n in range(3):
        await put(database, f"g{n}", n)
    cursor = (await page(database, Query(limit=1), NOW)).next_cursor
    with pytest.raises(InvalidInput):
        await page(database, Query(limit=1, cursor=cursor, sort=Sort.CREATED_UP), NOW)


FILTERS = ("state", "upstream", "generation_type", "operation", "model")


async def plan(database: Database, **asked: Any) -> str:
    """Return the query plan of SQLite for a page."""
    sql, values = page_sql(Query(**asked), database.dialect, NOW)
    steps = await database.fetch(f"EXPLAIN QUERY PLAN {sql}", *values)
    return " | ".join(detail for *_, detail in steps)


@pytest.mark.sqlite
@pytest.mark.parametrize("name", FILTERS)
async def test_a_filtered_page_is_read_in_its_order_from_an_index(
    database: Database, name: str
) -> None:
    """Otherwise a filter that few rows match would scan the whole table."""
    steps = await plan(database, **{name: ("x",)})

    assert f"({name}=?)" in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.sqlite
@pytest.mark.parametrize("name", FILTERS)
async def test_a_filtered_page_by_change_sorts_nothing(database: Database, name: str) -> None:
    """Otherwise a filter that most rows match would sort most of the table."""
    steps = await plan(database, **{name: ("x",)}, sort=Sort.UPDATED_DOWN)

    assert "ix_generations_changed" in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.sqlite
@pytest.mark.parametrize("sort", Sort)
async def test_a_later_page_begins_at_its_place(database: Database, sort: Sort) -> None:
    """Otherwise the hundredth page would read the ninety-nine before it."""
    for n in range(3):
        await put(database, f"g{n}", n)
    cursor = (await page(database, Query(limit=1, sort=sort), NOW)).next_cursor

    assert "SEARCH" in await plan(database, limit=1, sort=sort, cursor=cursor)
