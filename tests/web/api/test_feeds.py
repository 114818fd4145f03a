"""Feeds over HTTP: who gets one, its headers, and what a client gets that is slow or unlucky."""

import asyncio
import csv
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from structlog.testing import capture_logs

from service.config import Settings
from service.tracking.feeds import CSV_FIELDS
from service.web.responses.negotiation import format_of
from tests.databases import copy_generation, execute
from tests.waiting import until
from tests.web.api.test_generations import COMPLETED, client_of, told
from tests.web.test_fast_path import CALLBACK, both_ways

pytestmark = pytest.mark.either_database

LIST = "/v1/generations"
END = b"0\r\n\r\n"
"""The last chunk of a response that is complete."""


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with three generations, which Luma is not asked about."""
    async with client_of(settings, luma_api_key=None, luma_agents_api_key=None) as client:
        for n in range(3):
            await told(client, {**COMPLETED, "id": f"g{n}", "state": "completed"})
        yield client


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("Text/CSV; header=present", "csv"),
        ("text/csv, */*;q=0.1", "csv"),
        ("text/*", "csv"),
        ("text/csv;q=0.5, application/x-ndjson", "ndjson"),
        ("application/x-ndjson;q=0.9, application/json;q=0.8", "ndjson"),
        ("application/*", "json"),
        ("application/json;q=0, */*", "csv"),
        ("text/csv;q=0", "json"),
        ("text/csv;q=nan", "json"),
        ("image/png", "json"),
        (",;,q=", "json"),
    ],
)
def test_the_most_preferred_format_is_taken(accept: str, expected: str) -> None:
    assert format_of(accept) == expected


async def test_the_same_list_in_three_representations(http: httpx.AsyncClient) -> None:
    page = await http.get(LIST)
    lines = await http.get(LIST, headers={"Accept": "application/x-ndjson"})
    rows = await http.get(LIST, headers={"Accept": "text/csv"})

    assert [json.loads(line) for line in lines.text.splitlines()] == page.json()["items"]
    head, *table = csv.reader(rows.text.splitlines())
    assert tuple(head) == CSV_FIELDS
    assert [row[0] for row in table] == ["g2", "g1", "g0"]
    assert {each.headers["vary"] for each in (page, lines, rows)} == {"Accept"}
    assert [each.headers["content-type"] for each in (page, lines, rows)] == [
        *("application/json", "application/x-ndjson", "text/csv; charset=utf-8"),
    ]
    for answer, name in ((lines, "generations.ndjson"), (rows, "generations.csv")):
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-length" not in answer.headers


def test_the_columns_of_csv_are_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rest.md").read_text()
    documented = text.partition("the columns are")[2].partition(";")[0]
    assert tuple(re.findall(r"`([a-z_.]+)`", documented)) == CSV_FIELDS


async def test_the_parameter_takes_precedence_and_fields_narrow(http: httpx.AsyncClient) -> None:
    asked = {"fields": "state,id,assets.video", "limit": "2"}
    rows = await http.get(LIST, params={**asked, "format": "csv"})
    page = await http.get(LIST, params={**asked, "format": "json"}, headers={"Accept": "text/csv"})
    video = COMPLETED["assets"]["video"]

    assert rows.text == (
        f"state,id,assets.video\r\ncompleted,g2,{video}\r\ncompleted,g1,{video}\r\n"
    )
    assert page.json()["items"][0] == {"state": "completed", "id": "g2", "assets": {"video": video}}
    assert "fields=state%2Cid%2Cassets.video" in page.links["next"]["url"]


async def test_a_head_request_gets_the_headers_of_a_feed(http: httpx.AsyncClient) -> None:
    for format_ in ("csv", "ndjson"):
        asked = await http.get(LIST, params={"format": format_})
        answer = await http.head(LIST, params={"format": format_})
        assert (answer.status_code, dict(answer.headers)) == (200, dict(asked.headers))


async def test_what_is_wrong_is_a_problem_and_no_feed(http: httpx.AsyncClient) -> None:
    for query, message in [
        ("format=csv&fields=id,stat", "Unknown field `stat`. Did you mean `state`?"),
        ("format=ndjson&fields=", "Name at least one field"),
        ("format=xml", "'json', 'csv' or 'ndjson'"),
        ("format=csv&cursor=x", "The cursor is invalid"),
        ("format=csv&limit=201", "less than or equal to 200"),
        ("format=csv&field=id", "Did you mean `fields`?"),
    ]:
        answer = await http.get(f"{LIST}?{query}")
        assert answer.status_code == 422, query
        assert answer.headers["content-type"] == "application/problem+json"
        assert message in answer.json()["errors"][0]["msg"]


# --- on real sockets, with more than fits into their buffers -----------------------------------


class Client(NamedTuple):
    """A client that reads when it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def start(self, query: str) -> bytes:
        """Ask for a feed, and read no more than its beginning."""
        head = f"GET {LIST}?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self.writer.write(head.encode())
        return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def connected(url: httpx.URL) -> AsyncIterator[Client]:
    """A connection that takes little ahead of its reader."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.connect((url.host, url.port or 0))
    client = Client(*await asyncio.open_connection(sock=connection, limit=16_384))
    try:
        yield client
    finally:
        client.writer.transport.abort()


@pytest.fixture
async def large(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with 40 MB of generations, by our own server."""
    quiet = settings.model_copy(update={"luma_api_key": None, "luma_agents_api_key": None})
    async with both_ways(quiet, by_socket=True) as both:
        body = {"id": "g", "state": "completed", "failure_reason": "x" * 10_000}
        assert (await both.short.post(CALLBACK, content=json.dumps(body))).is_success
        copy_generation(settings.database_url, 3999)
        yield both.short


@pytest.mark.thorough
async def test_slow_clients_delay_nobody_and_get_everything(large: httpx.AsyncClient) -> None:
    async with connected(large.base_url) as first, connected(large.base_url) as second:
        async with connected(large.base_url) as third:
            for client in (first, second, third):
                assert b"transfer-encoding: chunked" in await client.start("format=ndjson")
            found = await large.get(LIST, params={"q": "nothing-has-this"})
            assert found.json()["items"] == []
        whole = await first.reader.read()

    assert whole.count(b'{"id":"g') == 4000
    assert whole.endswith(END)


@pytest.mark.thorough
async def test_a_feed_ends_with_its_client(large: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()
    await large.get(LIST)
    before = len(asyncio.all_tasks())
    async with connected(large.base_url) as client:
        await client.start("format=csv")
        assert len(asyncio.all_tasks()) > before
    await asyncio.to_thread(until, lambda: len(asyncio.all_tasks(loop)) <= before)


@pytest.mark.thorough
async def test_a_feed_that_fails_on_its_way_does_not_look_complete(
    large: httpx.AsyncClient, settings: Settings
) -> None:
    with capture_logs() as logs:
        async with connected(large.base_url) as client:
            await client.start("format=csv")
            away = "ALTER TABLE generations RENAME TO away"
            await asyncio.to_thread(execute, settings.database_url, away)
            async with asyncio.timeout(30):
                received = await client.reader.read()

    assert received
    assert not received.endswith(END)
    [broken_off] = [entry for entry in logs if entry["event"] == "feed_broken_off"]
    assert 0 < broken_off["rows"] < 4000
