"""Feeds: every row once, in the representation that was asked for, in flat memory."""

import asyncio
import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.config import Settings
from service.domain.generation import Observation, Source
from service.errors import InvalidInput, StoreUnavailable
from service.storage.fields import KNOWN, parse_fields
from service.storage.listing import Query, Sort
from service.storage.shape import NAMES
from service.tracking.feeds import CSV_FIELDS, Feed, Format, cell
from service.tracking.tracker import Tracker
from tests.conftest import Clock
from tests.databases import copy_generation, execute
from tests.single import observe

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
AWAY = "ALTER TABLE generations RENAME TO away"
BACK = "ALTER TABLE away RENAME TO generations"


async def put(tracker: Tracker, id_: str, **given: Any) -> None:
    """Store a generation."""
    values: dict[str, Any] = {"upstream": "dream_machine", "source": Source.FETCH, **given}
    await tracker._database.write(observe, Observation(id=id_, **values), NOON)


async def text_of(feed: Feed) -> str:
    """Read a feed to its end."""
    return b"".join([lines async for lines in feed.lines()]).decode()


async def rows_of(tracker: Tracker, query: Query, limit: int | None = None) -> list[dict[str, Any]]:
    """Read a CSV feed to its end."""
    text = await text_of(Feed(tracker, query, Format.CSV, limit))
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("sort", Sort)
async def test_a_feed_has_every_row_once_in_order(
    tracker: Tracker, settings: Settings, sort: Sort
) -> None:
    await put(tracker, "a", created_at=NOON, state="completed")
    copy_generation(settings.database_url, 449)
    feed = Feed(tracker, Query(sort=sort), Format.NDJSON)

    listed = [json.loads(line) for line in (await text_of(feed)).splitlines()]

    pages, cursor = list[Any](), None
    while True:
        page = await tracker.page(Query(sort=sort, limit=150, cursor=cursor))
        pages += [json.loads(item.body) for item in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert len(listed) == feed.rows == 450
    assert listed == pages


async def test_a_feed_obeys_filters_a_limit_and_a_cursor(
    tracker: Tracker, settings: Settings
) -> None:
    await put(tracker, "a", created_at=NOON, state="completed")
    copy_generation(settings.database_url, 420)
    await put(tracker, "b", created_at=NOON, state="failed")
    completed = Query(state=("completed",))

    first = await tracker.page(Query(state=("completed",), limit=3))
    rest = await rows_of(tracker, Query(state=("completed",), cursor=first.next_cursor))
    assert len(rest) == 421 - 3
    assert len(await rows_of(tracker, completed, limit=401)) == 401
    assert len(await rows_of(tracker, completed, limit=200)) == 200
    assert len(await rows_of(tracker, Query(state=("failed",)))) == 1
    recent = Query(created_after=NOON - timedelta(minutes=10), fields=("id",))
    assert [row["id"] for row in await rows_of(tracker, recent, limit=4)] == [
        "b",
        "a-1",
        "a",
        "a-3",
    ]


async def test_a_time_before_now_is_the_same_on_every_page(
    tracker: Tracker, settings: Settings, clock: Clock
) -> None:
    await put(tracker, "a", created_at=NOON)
    copy_generation(settings.database_url, 499)
    feed = Feed(tracker, Query(created_after=timedelta(minutes=245)), Format.NDJSON)
    lines = feed.lines()
    await anext(lines)
    clock.turn(3600)

    assert [some async for some in lines]
    assert feed.rows == 490
    assert len(await rows_of(tracker, Query(created_after=timedelta(minutes=245)))) == 370


async def test_an_empty_feed_is_a_head_or_nothing(tracker: Tracker) -> None:
    assert await text_of(Feed(tracker, Query(), Format.NDJSON)) == ""
    text = await text_of(Feed(tracker, Query(fields=("state", "id")), Format.CSV))
    assert text == "state,id\r\n"
    assert await text_of(Feed(tracker, Query(), Format.CSV)) == ",".join(CSV_FIELDS) + "\r\n"


async def test_fields_narrow_bodies_and_cells_in_their_order(tracker: Tracker) -> None:
    await put(
        tracker,
        "a",
        state="completed",
        prompt='a "lake",\r\nat dusk',
        assets={"video": "https://v.example/1", "other": "https://o.example/2"},
        request={"model": "ray-2", "loop": True, "keyframes": {"frame0": {"type": "image"}}},
    )
    await put(tracker, "b", state="queued")
    asked = "state, id,assets.video,request.keyframes.frame0,request.loop,request.no,prompt,rev"
    fields = parse_fields(asked)

    shown = (await text_of(Feed(tracker, Query(fields=fields), Format.NDJSON))).splitlines()
    rows = await rows_of(tracker, Query(fields=fields))

    assert json.loads(shown[0])["state"] == "queued"
    assert list(json.loads(shown[1]).items()) == [
        ("state", "completed"),
        ("id", "a"),
        ("assets", {"video": "https://v.example/1"}),
        ("request", {"keyframes": {"frame0": {"type": "image"}}, "loop": True, "no": None}),
        ("prompt", 'a "lake",\r\nat dusk'),
        ("rev", 1),
    ]
    assert list(rows[1].values()) == [
        *("completed", "a", "https://v.example/1", '{"type":"image"}', "true", ""),
        *('a "lake",\r\nat dusk', "1"),
    ]
    assert list(rows[0].values()) == ["queued", "b", "", "", "", "", "", "1"]
    whole = await rows_of(tracker, Query(fields=("request.loop", "request", "assets"), id=("a",)))
    assert json.loads(whole[0]["request"])["model"] == "ray-2"
    assert json.loads(whole[0]["assets"])["other"] == "https://o.example/2"
    [page] = (await tracker.page(Query(id=("a",), fields=("request", "request.loop")))).items
    assert json.loads(page.body)["request"]["model"] == "ray-2"


async def test_every_field_can_be_asked_for_alone(tracker: Tracker) -> None:
    await put(tracker, "a", state="completed", assets={"image": "https://i.example/1"})
    whole = json.loads((await tracker.lookup("a")).representation.body)
    for name in NAMES:
        [item] = (await tracker.page(Query(fields=(name,)))).items
        assert json.loads(item.body) == {name: whole[name]}


def test_an_unknown_field_is_named_with_the_nearest_one() -> None:
    for text, message in [
        ("id,stat", "Unknown field `stat`. Did you mean `state`?"),
        ("assets.vidoe", "Unknown field `assets.vidoe`. Did you mean `assets.video`?"),
        ("State", "Unknown field `State`. Did you mean `state`?"),
        ("request.", "Unknown field `request.`. Did you mean `request`?"),
        ("zzz", "Unknown field `zzz`. There are: id, "),
        (" , ", "Name at least one field"),
    ]:
        with pytest.raises(ValueError, match="field") as error:
            parse_fields(text)
        assert str(error.value).startswith(message)
    assert parse_fields("id,id, rev ,") == ("id", "rev")
    assert parse_fields(",".join(KNOWN)) == KNOWN


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r\n=1", "'\r\n=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff20SUM(A1)", "'\uff20SUM(A1)"),
        ("\x7f", "'\x7f"),
        ("\x85=1", "'\x85=1"),
        (-1, "'-1"),
        ("a=1", "a=1"),
        ("'=1", "'=1"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (0.71, "0.71"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
    ],
)
def test_a_cell_is_never_a_formula(value: object, text: str) -> None:
    assert cell(value) == text


@pytest.mark.thorough
async def test_a_million_rows_would_need_no_more_memory_than_some(
    tracker: Tracker, settings: Settings
) -> None:
    await put(tracker, "a", created_at=NOON, prompt="x" * 500)
    copy_generation(settings.database_url, 29_999)
    feed, size = Feed(tracker, Query(), Format.NDJSON), 0
    lines = feed.lines()
    await anext(lines)  # what is allocated once
    tracemalloc.start()
    try:
        async for some in lines:
            size += len(some)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert feed.rows == 30_000
    assert size > 30_000_000
    assert peak < 3_000_000


async def test_feeds_that_nobody_reads_hold_nothing(tracker: Tracker, settings: Settings) -> None:
    await put(tracker, "a", created_at=NOON)
    copy_generation(settings.database_url, 500)
    idle = [Feed(tracker, Query(), Format.CSV).lines() for _ in range(20)]
    for lines in idle:
        await anext(lines)

    execute(settings.database_url, AWAY)  # waits for whoever has the table open
    execute(settings.database_url, BACK)

    assert len(await rows_of(tracker, Query())) == 501
    for lines in idle:
        await lines.aclose()


async def test_a_database_that_is_away_for_a_moment_cuts_no_feed(
    tracker: Tracker, settings: Settings
) -> None:
    await put(tracker, "a", created_at=NOON)
    copy_generation(settings.database_url, 500)
    feed = Feed(tracker, Query(), Format.NDJSON)
    lines = feed.lines()
    await anext(lines)
    execute(settings.database_url, AWAY)
    following = asyncio.ensure_future(anext(lines))
    with pytest.raises(StoreUnavailable):
        await tracker.page(Query(limit=150))  # the feed has asked before
    execute(settings.database_url, BACK)

    await following
    assert len([some async for some in lines]) == 1
    assert feed.rows == 501


async def test_what_is_wrong_at_the_first_page_is_said_at_once(tracker: Tracker) -> None:
    with pytest.raises(InvalidInput):
        await anext(Feed(tracker, Query(cursor="x"), Format.CSV).lines())
