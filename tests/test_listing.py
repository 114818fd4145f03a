"""Pages of generations: filters, orders, and cursors that neither skip nor repeat."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

from service.errors import InvalidInput
from service.generation import Observation, Source
from service.listing import Query, Sort, page
from tests.single import observe

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def put(connection: Connection, id_: str, minute: float = 0, **given: Any) -> None:
    """A generation, first seen that many minutes after noon."""
    values: dict[str, Any] = {"upstream": "dream_machine", "source": Source.FETCH, **given}
    observe(connection, Observation(id=id_, **values), NOON + timedelta(minutes=minute))


def ids(connection: Connection, **asked: Any) -> list[str]:
    """The ids of a page."""
    return [generation.id for generation in page(connection, Query(**asked)).items]


def test_nothing_is_an_empty_last_page(connection: Connection) -> None:
    found = page(connection, Query())
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
def test_every_order_is_kept(connection: Connection, sort: Sort, order: str) -> None:
    for minute, id_ in enumerate("abc"):
        put(connection, id_, minute, state="queued")
    put(connection, "a", 9, state="completed")
    assert ids(connection, sort=sort) == list(order)


def test_the_order_is_by_lumas_time_where_luma_told_it(connection: Connection) -> None:
    put(connection, "old", 5, created_at=NOON - timedelta(days=1))
    put(connection, "untold", 1)
    put(connection, "new", 0, created_at=NOON + timedelta(minutes=2))
    assert ids(connection) == ["new", "untold", "old"]
    put(connection, "untold", 9, created_at=NOON - timedelta(days=2))
    assert ids(connection) == ["new", "old", "untold"]


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 12, 13])
def test_pages_hold_every_row_once_even_of_one_moment(
    connection: Connection, sort: Sort, limit: int
) -> None:
    for n in range(13):
        put(connection, f"g{n:02}", n // 4)  # four at a time
    found: list[str] = []
    cursor: str | None = None
    for _ in range(14):
        one = page(connection, Query(sort=sort, limit=limit, cursor=cursor))
        assert len(one.items) <= limit
        found += [generation.id for generation in one.items]
        cursor = one.next_cursor
        if cursor is None:
            break
    assert found == ids(connection, sort=sort, limit=200)
    assert len(set(found)) == 13


def test_rows_that_come_in_meanwhile_move_nothing(connection: Connection) -> None:
    for n in range(6):
        put(connection, f"g{n}", n)
    first = page(connection, Query(limit=3))
    put(connection, "newer", 100)
    assert [g.id for g in first.items] == ["g5", "g4", "g3"]
    assert ids(connection, limit=3, cursor=first.next_cursor) == ["g2", "g1", "g0"]


def test_an_offset_skips(connection: Connection) -> None:
    for n in range(4):
        put(connection, f"g{n}", n)
    assert ids(connection, offset=1, limit=2) == ["g2", "g1"]
    assert ids(connection, offset=9) == []


@pytest.mark.parametrize(
    "name", ["state", "generation_type", "operation", "model", "upstream", "id"]
)
def test_each_filter_takes_any_of_its_values(connection: Connection, name: str) -> None:
    for minute, value in enumerate("xyz"):
        given = {"id_": value} if name == "id" else {"id_": f"id-{value}", name: value}
        put(connection, minute=minute, **given)
    wanted: dict[str, Any] = {name: ("x", "z", "none")}
    found = page(connection, Query(**wanted)).items
    assert [getattr(g, name) for g in found] == ["z", "x"]


def test_all_filters_must_hold(connection: Connection) -> None:
    put(connection, "a", state="queued", model="m")
    put(connection, "b", state="queued", model="n")
    put(connection, "c", state="failed", model="m")
    assert ids(connection, state=("queued",), model=("m",)) == ["a"]


def test_a_span_of_time_is_open_at_both_ends(connection: Connection) -> None:
    for minute in range(5):
        put(connection, f"g{minute}", minute)
    after, before = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    assert ids(connection, created_after=after) == ["g4", "g3", "g2"]
    assert ids(connection, created_before=before) == ["g2", "g1", "g0"]
    assert ids(connection, created_after=after, created_before=before) == ["g2"]


def test_a_time_in_another_zone_is_the_same_time(connection: Connection) -> None:
    put(connection, "a", 1)
    offset = datetime.fromisoformat("2026-05-30T15:00:30+03:00")
    assert ids(connection, created_after=offset) == ["a"]
    assert ids(connection, created_before=offset) == []


def test_what_is_gone_is_shown_only_if_asked_for(connection: Connection) -> None:
    put(connection, "a")
    put(connection, "b", 1)
    put(connection, "a", 2, gone=True)
    assert ids(connection) == ["b"]
    assert ids(connection, gone=True) == ["b", "a"]


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
def test_all_words_must_be_in_prompt_id_or_failure(
    connection: Connection, q: str, found: set[str]
) -> None:
    put(connection, "a", prompt="A Lake in the mountains")
    put(connection, "b", prompt="100% \\ it's")
    put(connection, "c", failure_reason="Frame moderation failed")
    put(connection, "d", failure_code="content_moderated")
    put(connection, "id_e")
    assert set(ids(connection, q=q)) == found


@pytest.mark.parametrize(
    "q",
    [
        *("Ärger", "ärger", "ÄRGER", "ÉTÉ", "Москва", "москва", "湖"),
        pytest.param("İ", marks=pytest.mark.sqlite),  # how it is lowered is the locale's affair
    ],
)
def test_words_are_found_whatever_their_letters(connection: Connection, q: str) -> None:
    put(connection, "a", prompt="Ärger im Été, Москва, 湖, İstanbul")
    assert ids(connection, q=q) == ["a"]


def test_a_query_may_be_as_long_as_any_surface_takes_it(connection: Connection) -> None:
    put(connection, "a", prompt="x " * 250)
    assert ids(connection, q="x " * 250) == ["a"]


def encoded(place: str) -> str:
    """A cursor that says this."""
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
def test_a_cursor_that_is_not_ours_is_refused(connection: Connection, cursor: str) -> None:
    put(connection, "a")
    with pytest.raises(InvalidInput) as error:
        page(connection, Query(cursor=cursor))
    assert error.value.field == "cursor"
    assert error.value.hint


def test_a_cursor_holds_for_its_own_order_only(connection: Connection) -> None:
    for n in range(3):
        put(connection, f"g{n}", n)
    cursor = page(connection, Query(limit=1)).next_cursor
    with pytest.raises(InvalidInput):
        page(connection, Query(limit=1, cursor=cursor, sort=Sort.CREATED_UP))


FILTERS = ("state", "upstream", "generation_type", "operation", "model")


def plan(connection: Connection, **asked: Any) -> str:
    """How SQLite finds a page."""
    sent = list[tuple[str, Any]]()

    def note(_: object, __: object, statement: str, values: Any, *___: object) -> None:
        sent.append((statement, values))

    event.listen(connection, "before_cursor_execute", note)
    page(connection, Query(**asked))
    event.remove(connection, "before_cursor_execute", note)
    [(statement, values)] = sent
    steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    return " | ".join(step.detail for step in steps)


@pytest.mark.sqlite
@pytest.mark.parametrize("name", FILTERS)
def test_a_filtered_page_is_read_in_its_order_from_an_index(
    connection: Connection, name: str
) -> None:
    """Else a page of a value that few rows have reads the whole table."""
    steps = plan(connection, **{name: ("x",)})

    assert f"({name}=?)" in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.sqlite
@pytest.mark.parametrize("name", FILTERS)
def test_a_filtered_page_by_change_sorts_nothing(connection: Connection, name: str) -> None:
    """Else a page of a value that most rows have sorts most of the table."""
    steps = plan(connection, **{name: ("x",)}, sort=Sort.UPDATED_DOWN)

    assert "ix_generations_changed" in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.sqlite
@pytest.mark.parametrize("sort", Sort)
def test_a_later_page_begins_at_its_place(connection: Connection, sort: Sort) -> None:
    """Else the hundredth page reads the ninety-nine before it."""
    for n in range(3):
        put(connection, f"g{n}", n)
    cursor = page(connection, Query(limit=1, sort=sort)).next_cursor

    assert "SEARCH" in plan(connection, limit=1, sort=sort, cursor=cursor)
