"""`GET /v1/events` on the whole application in process: pages, long polling and the stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import pytest
from starlette.types import ASGIApp, Message

from service.config import Settings
from service.storage.events import Event
from service.tracking.changes import Changes
from service.tracking.history import EventBatch
from service.tracking.tracker import Tracker
from service.web.api.events import stream_chunk
from tests.databases import execute
from tests.listening import Stream
from tests.web.api.test_generations import client_of, told

pytestmark = pytest.mark.either_database

SOON = 30.0
KEYLESS: dict[str, object] = {"luma_api_key": None, "luma_agents_api_key": None}


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service without keys."""
    async with client_of(settings, **KEYLESS) as client:
        yield client


async def changed(http: httpx.AsyncClient, *ids: str, state: str = "queued") -> None:
    await told(http, *({"id": each, "state": state} for each in ids))


def app_of(http: httpx.AsyncClient) -> Any:
    transport = cast("httpx.ASGITransport", http._transport)
    return cast("Any", transport.app)


class Listener:
    """A client of the stream, driven by ASGI: httpx would wait for the end of the answer."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.status = 0
        self.headers = httpx.Headers()
        self.ended = False
        self._told = asyncio.Event()
        self._gone = asyncio.Event()
        self.reading = asyncio.Event()
        """While it is unset, the connection accepts no more bytes."""
        self.reading.set()

    async def receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = httpx.Headers(message["headers"])
        else:
            self.stream.feed(message["body"])
            self.ended = not message.get("more_body", False)
        self._told.set()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(SOON):
            while not holds():
                await self._told.wait()
                self._told.clear()

    def hang_up(self) -> None:
        self._gone.set()


@asynccontextmanager
async def listening(
    http: httpx.AsyncClient, query: str = "", method: str = "GET", **headers: str
) -> AsyncIterator[Listener]:
    """A listener on the stream, whose response has started."""
    listener = Listener()
    sent = {"host": "127.0.0.1", "accept": "text/event-stream"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    app: ASGIApp = app_of(http)
    task = asyncio.ensure_future(app(scope, listener.receive, listener.send))
    try:
        await listener.until(lambda: listener.status and (listener.stream.retry or listener.ended))
        yield listener
    finally:
        listener.hang_up()
        async with asyncio.timeout(SOON):
            await task


# --- Pages -------------------------------------------------------------------------------------


async def test_all_changes_come_in_pages_of_one_order(http: httpx.AsyncClient) -> None:
    await changed(http, "a", "b", "c")
    await changed(http, "b", "a", state="dreaming")
    one = (await http.get("/v1/generations/a/events")).json()["items"]

    path: str | None = "/v1/events?limit=2"
    pages = []
    while path:
        answer = await http.get(path)
        pages.append(answer.json())
        path = answer.links["next"]["url"] if "next" in answer.links else None

    items = [item for page in pages for item in page["items"]]
    assert [item["generation_id"] for item in items] == ["a", "b", "c", "b", "a"]
    assert [item for item in items if item["generation_id"] == "a"] == one
    assert [page["has_more"] for page in pages] == [True, True, False]
    assert [page["next_cursor"] for page in pages] == [
        str(page["items"][-1]["seq"]) for page in pages
    ]


async def test_even_the_last_page_says_where_to_go_on(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/events")).json() == {
        "items": [],
        "next_cursor": "0",
        "has_more": False,
    }
    await changed(http, "a")
    page = (await http.get("/v1/events", params={"after": "0"})).json()
    again = (await http.get("/v1/events", params={"after": page["next_cursor"]})).json()
    assert again == {"items": [], "next_cursor": page["next_cursor"], "has_more": False}
    await changed(http, "b")
    [event] = (await http.get("/v1/events", params={"after": page["next_cursor"]})).json()["items"]
    assert event["generation_id"] == "b"


async def test_now_is_behind_all_that_there_is(http: httpx.AsyncClient) -> None:
    await changed(http, "a", "b")
    page = (await http.get("/v1/events?after=now")).json()
    assert (page["items"], page["next_cursor"]) == ([], "2")


async def test_a_number_that_is_not_there_yet_is_waited_for(http: httpx.AsyncClient) -> None:
    await changed(http, "a")
    for after in (999, 2**63 - 1):
        page = (await http.get("/v1/events", params={"after": after})).json()
        assert page == {"items": [], "next_cursor": str(after), "has_more": False}


async def test_what_makes_no_sense_is_422_and_is_named(http: httpx.AsyncClient) -> None:
    for query in (
        *("after=x", "after=-1", "after=", f"after={2**63}", "after=1.5", "after=NOW"),
        *("limit=0", "limit=201", "wait=61", "wait=-1", "wait=nan", "cursor=1", "nope=1"),
    ):
        for accept in ("*/*", "text/event-stream"):
            answer = await http.get(f"/v1/events?{query}", headers={"Accept": accept})
            assert answer.status_code == 422, query
            assert answer.headers["content-type"] == "application/problem+json"
            assert query.partition("=")[0] in answer.json()["detail"]
    answer = await http.get("/v1/events", headers={"Last-Event-ID": "of another stream"})
    assert answer.status_code == 422
    assert "last-event-id" in answer.json()["detail"]


async def test_a_page_is_not_kept_by_anybody(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/events")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "Accept"


async def test_a_read_only_token_may_read_and_none_may_not(settings: Settings) -> None:
    async with client_of(settings, **KEYLESS, api_tokens="ro:reader") as http:
        for accept in ("*/*", "text/event-stream"):
            assert (await http.get("/v1/events", headers={"Accept": accept})).status_code == 401
        bearer = {"Authorization": "Bearer reader"}
        assert (await http.get("/v1/events", headers=bearer)).status_code == 200
        async with listening(http, authorization="Bearer reader") as listener:
            assert listener.status == 200


# --- Long-polls --------------------------------------------------------------------------------


async def test_a_long_poll_answers_when_something_happens(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(SOON):
        polling = asyncio.create_task(http.get("/v1/events?after=0&wait=60"))
        await changed(http, "a")
        page = (await polling).json()
    assert [item["generation_id"] for item in page["items"]] == ["a"]


async def test_a_long_poll_that_runs_out_is_an_empty_page(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/events?wait=0.1")
    assert (answer.status_code, answer.json()["items"]) == (200, [])
    assert "preference-applied" not in answer.headers


async def test_a_preferred_wait_is_shortened_andstream_chunk(http: httpx.AsyncClient) -> None:
    await changed(http, "a")
    for prefer, applied in {"wait=5": "wait=5", "wait=600": "wait=60", "": None}.items():
        answer = await http.get("/v1/events", headers={"Prefer": prefer})
        assert answer.status_code == 200
        assert answer.headers.get("preference-applied") == applied


# --- The stream --------------------------------------------------------------------------------


async def test_a_stream_begins_now_and_carries_the_same_items(http: httpx.AsyncClient) -> None:
    await changed(http, "before")
    async with listening(http) as listener:
        assert listener.stream.last_id == "1", "who is cut off now does not begin with another now"
        await changed(http, "a", "b")
        await listener.until(lambda: len(listener.stream.events) == 2)
    page = (await http.get("/v1/events?after=1")).json()
    assert listener.stream.events == page["items"]
    assert listener.stream.others == []


async def test_a_stream_is_nothing_to_keep_or_to_hold_back(http: httpx.AsyncClient) -> None:
    async with listening(http) as listener:
        assert listener.status == 200
    headers = listener.headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["vary"] == "Accept"
    assert "content-length" not in headers
    assert listener.stream.retry == 1000


@pytest.mark.parametrize(
    ("query", "headers", "first"),
    [
        ("after=0", {}, 1),
        ("after=2", {}, 3),
        ("after=2", {"last_event_id": ""}, 3),
        ("after=now", {}, 4),
        ("", {"last_event_id": "1"}, 2),
        ("after=0", {"last_event_id": "2"}, 3),
        ("after=now", {"last_event_id": "0"}, 1),
    ],
)
async def test_a_stream_goes_on_where_it_is_told_to(
    http: httpx.AsyncClient, query: str, headers: dict[str, str], first: int
) -> None:
    await changed(http, "a", "b", "c")
    async with listening(http, query, **headers) as listener:
        await changed(http, "d")
        await listener.until(lambda: listener.stream.last_id == "4")
    assert listener.stream.seqs == list(range(first, 5))


async def test_accept_may_name_the_stream_among_others(http: httpx.AsyncClient) -> None:
    async with listening(http, accept="application/json;q=0.5, Text/Event-Stream") as listener:
        assert listener.headers["content-type"].startswith("text/event-stream")


async def test_head_of_a_stream_has_its_headers_and_ends(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(SOON):
        answer = await http.head("/v1/events", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == b""


async def test_a_stream_ends_when_the_service_stops(http: httpx.AsyncClient) -> None:
    tracker: Tracker = app_of(http).state.tracker
    async with listening(http) as listener:
        tracker.stop_waiting()
        await listener.until(lambda: listener.ended)


async def test_who_hangs_up_leaves_nothing_behind(http: httpx.AsyncClient) -> None:
    before = followers(http)
    for _ in range(3):
        async with listening(http):
            assert followers(http) == before + 1
    assert followers(http) == before


def followers(http: httpx.AsyncClient) -> int:
    """How many wait for changes of all generations; the sender of webhooks always does."""
    changes: Changes = app_of(http).state.tracker.history._changes
    return len(changes._subscribers[Changes.ANY])


async def test_a_client_that_does_not_read_is_not_read_for(http: httpx.AsyncClient) -> None:
    """However much happens, one part is waiting for it; then it receives everything."""
    before = followers(http)
    async with listening(http) as listener, asyncio.timeout(SOON):
        listener.reading.clear()
        await changed(http, "first")
        while followers(http) > before:  # noqa: ASYNC110 - nobody tells when
            await asyncio.sleep(0)
        for batch in range(4):
            await changed(http, *(f"g{batch}-{n}" for n in range(75)))
        assert followers(http) == before, "nobody looks for more on its behalf"
        assert listener.stream.seqs == []
        listener.reading.set()
        await listener.until(lambda: len(listener.stream.events) == 301)
    assert listener.stream.seqs == list(range(1, 302))


# --- What has gone -----------------------------------------------------------------------------


async def test_who_comes_too_late_is_told_what_is_missing(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    await changed(http, "a", "b", "c")
    execute(settings.database_url, "DELETE FROM events WHERE seq < 3")

    late = await http.get("/v1/events?after=1")
    in_time = [await http.get(f"/v1/events?{query}") for query in ("", "after=2", "after=now")]
    async with listening(http, last_event_id="1") as listener:
        await listener.until(lambda: listener.stream.events)

    assert late.headers["missed-before"] == "3"
    assert [item["seq"] for item in late.json()["items"]] == [3]
    assert not any("missed-before" in answer.headers for answer in in_time)
    assert listener.stream.others == [("missed", '{"before":3}')]
    assert listener.stream.seqs == [3]


def test_a_quiet_time_is_a_comment() -> None:
    stream = Stream()
    stream.feed(stream_chunk(EventBatch([])))
    assert (stream.heartbeats, stream.events, stream.others) == (1, [], [])


def test_an_event_is_one_line_whatever_it_says() -> None:
    at = datetime(2026, 5, 30, tzinfo=UTC)
    odd = "a\r\n\u2028\x85data: x\n\nid: 9"
    stream = Stream()
    stream.feed(stream_chunk(EventBatch([Event(7, "a", None, odd, 1, "callback", at, None)])))
    assert [event["to_state"] for event in stream.events] == [odd]
    assert stream.last_id == "7"
