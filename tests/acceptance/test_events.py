"""All changes in one order: as a stream, by long-poll, over restarts and instances."""

import asyncio
import json
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import KEYLESS, Service
from tests.acceptance.storm import Storm, life_of
from tests.acceptance.talk import new_id
from tests.listening import Stream
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

Start = Callable[..., Service]

SOON = 20.0
STATES = ("queued", "dreaming", "completed")


@dataclass
class Listener:
    """A client of the stream."""

    stream: Stream = field(default_factory=Stream)
    ended: bool | None = None
    """Whether the answer came to its proper end; None while it goes on."""
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, answer: httpx.Response) -> None:
        try:
            async for chunk in answer.aiter_raw():
                self.stream.feed(chunk)
                self._told.set()
            self.ended = True
        except httpx.TransportError:
            self.ended = False
        self._told.set()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(SOON):
            while not holds():
                await self._told.wait()
                self._told.clear()


@asynccontextmanager
async def listening(
    service: Service, *, after: int | None = None, last_id: str = ""
) -> AsyncIterator[Listener]:
    """Somebody who listens, from when the stream has begun until they hang up."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    query = {} if after is None else {"after": after}
    listener = Listener()
    async with (
        httpx.AsyncClient(base_url=service.url, timeout=SOON) as client,
        client.stream("GET", "/v1/events", params=query, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        reading = asyncio.create_task(listener.listen(answer))
        try:
            await listener.until(lambda: listener.stream.retry)
            yield listener
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def page(service: Service, **query: object) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=service.url, timeout=70) as client:
        answer = await client.get("/v1/events", params={k: str(v) for k, v in query.items()})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def all_events(service: Service) -> list[dict[str, Any]]:
    """Every event, page by page, as a reader who polls would."""
    items: list[dict[str, Any]] = []
    more, after = True, "0"
    while more:
        found = await page(service, after=after, limit=200)
        items += found["items"]
        more, after = found["has_more"], found["next_cursor"]
    return items


def lives(count: int, prefix: str) -> list[bytes]:
    """Callbacks of so many generations, in no order, some of them twice."""
    bodies = [body for n in range(count) for body in life_of(f"{prefix}-{n}", *STATES)]
    bodies += bodies[:: len(STATES) + 1]
    random.Random(prefix).shuffle(bodies)
    return bodies


def check_order(items: Iterable[dict[str, Any]]) -> None:
    """One order, and within it the whole history of each generation, forward."""
    items = list(items)
    seqs = [item["seq"] for item in items]
    assert seqs == sorted(set(seqs))
    revs: dict[str, list[int]] = {}
    for item in items:
        revs.setdefault(item["generation_id"], []).append(item["rev"])
    assert all(each == list(range(1, len(each) + 1)) for each in revs.values())


async def told(service: Service, generation_id: str, state: str = "queued") -> None:
    [body] = life_of(generation_id, state)
    async with httpx.AsyncClient() as client:
        answer = await client.post(service.callback_url, content=body)
    assert answer.status_code == 200


@pytest.mark.thorough
async def test_a_stream_carries_all_of_a_storm_in_one_order(start_service: Start) -> None:
    service = start_service(**KEYLESS)
    async with listening(service) as listener:
        storm = Storm(service.callback_url)
        await storm.blow(lives(200, "storm"))
        await listener.until(
            lambda: len({e["generation_id"] for e in listener.stream.events}) == 200
        )
        expected = await all_events(service)
        await listener.until(lambda: len(listener.stream.events) >= len(expected))

    assert set(storm.answered.values()) == {200}
    assert listener.stream.events == expected
    assert listener.stream.others == []
    check_order(expected)


async def test_a_stream_that_is_taken_up_again_after_a_kill_has_no_gap_and_nothing_twice(
    start_service: Start,
) -> None:
    service = start_service(**KEYLESS)
    seen: list[dict[str, Any]] = []
    last_id = "0"
    for round_ in range(3):
        async with listening(service, last_id=last_id) as listener:
            storm = Storm(service.callback_url)
            blowing = asyncio.create_task(storm.blow(lives(100, f"round{round_}")))
            await listener.until(lambda: len(listener.stream.events) > 50)
            await asyncio.to_thread(service.kill)
            await listener.until(lambda: listener.ended is not None)
            await asyncio.gather(blowing, return_exceptions=True)
        seen += listener.stream.events
        last_id = listener.stream.last_id
        await asyncio.to_thread(service.start)
        await told(service, f"after-{round_}")

    async with listening(service, last_id=last_id) as listener:
        expected = await all_events(service)
        await listener.until(lambda: listener.stream.last_id == str(expected[-1]["seq"]))
    seen += listener.stream.events

    assert seen == expected
    check_order(expected)


async def test_of_two_services_on_one_store_each_streams_what_either_is_told(
    start_service: Start,
) -> None:
    services = [start_service(**KEYLESS) for _ in range(2)]
    bodies = lives(150, "both")
    async with listening(services[0]) as one, listening(services[1]) as other:
        halves = (bodies[::2], bodies[1::2])
        storms = [Storm(service.callback_url, connections=16) for service in services]
        await asyncio.gather(
            *(storm.blow(half) for storm, half in zip(storms, halves, strict=True))
        )
        expected = await all_events(services[0])
        for listener in (one, other):
            await listener.until(lambda s=listener.stream: len(s.events) >= len(expected))  # type: ignore[misc]

    assert {status for storm in storms for status in storm.answered.values()} == {200}
    assert one.stream.events == other.stream.events == expected
    check_order(expected)


async def test_another_instance_takes_a_stream_up_where_the_first_was_left(
    start_service: Start,
) -> None:
    one, other = (start_service(**KEYLESS) for _ in range(2))
    async with listening(one) as first:
        await told(one, "a")
        await first.until(lambda: first.stream.events)
    await told(one, "b")
    async with listening(other, last_id=first.stream.last_id) as second:
        await told(one, "c")
        await second.until(lambda: len(second.stream.events) == 2)

    assert [e["generation_id"] for e in second.stream.events] == ["b", "c"]


@pytest.mark.either_database
async def test_a_stream_ends_at_once_when_the_service_stops(start_service: Start) -> None:
    service = start_service(**KEYLESS)
    async with listening(service) as listener, listening(service):
        began = time.monotonic()
        service.process.terminate()
        await listener.until(lambda: listener.ended is not None)
        assert await asyncio.to_thread(service.process.wait, 15) == 0
    took = time.monotonic() - began

    assert listener.ended, "it is a proper end, not a broken connection"
    assert took < 3
    assert "ERROR" not in service.said
    assert "level=error" not in service.said


@pytest.mark.either_database
@pytest.mark.thorough
async def test_a_stream_is_taken_up_again_after_a_reload(start_service: Start) -> None:
    service = start_service(**KEYLESS)
    async with listening(service) as listener:
        service.process.send_signal(signal.SIGHUP)
        await listener.until(lambda: listener.ended is not None)
    assert listener.ended
    await asyncio.to_thread(until, lambda: service.said.count("listening url=") == 2)
    await told(service, "since")
    async with listening(service, last_id=listener.stream.last_id) as listener:
        await listener.until(lambda: listener.stream.events)
    assert listener.stream.seqs == [1]


@pytest.mark.thorough
@pytest.mark.either_database
async def test_who_does_not_read_does_not_keep_the_service_from_ending(
    start_service: Start,
) -> None:
    service = start_service(**KEYLESS)
    statement = (
        "INSERT INTO events (generation_id, to_state, rev, source, at)"
        " VALUES (?, ?, 1, 'callback', '2100-01-01 00:00:00.000000')"
    )
    for n in range(20):  # together more than fits into all buffers on the way
        service.rows(statement, str(n), "x" * 1_000_000)
    parts = httpx.URL(service.url)
    reader, writer = await asyncio.open_connection(parts.host, parts.port, limit=16)
    head = f"GET /v1/events?after=0 HTTP/1.1\r\nHost: {parts.netloc.decode()}\r\n"
    writer.write(f"{head}Accept: text/event-stream\r\n\r\n".encode())
    await reader.readexactly(10)

    began = time.monotonic()
    service.process.terminate()
    await asyncio.to_thread(service.process.wait, 15)
    writer.close()

    assert time.monotonic() - began < 4


@pytest.mark.thorough
@pytest.mark.either_database
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
async def test_those_who_hang_up_leave_nothing_behind(start_service: Start) -> None:
    service = start_service(**KEYLESS)

    def connections() -> int:
        links = []
        for descriptor in Path(f"/proc/{service.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                links.append(str(descriptor.readlink()))
        return sum(link.startswith("socket:") for link in links)

    before = connections()
    for _ in range(3):
        async with AsyncExitStack() as streams:
            for _ in range(20):
                await streams.enter_async_context(listening(service))
            assert connections() > before + 15, "some of before may have gone"
            await told(service, new_id())
    await asyncio.to_thread(
        until, lambda: connections() < before + 20
    )  # PostgreSQL's pool stays open

    assert "Traceback" not in service.said
    assert "level=error" not in service.said


async def test_a_long_poll_is_answered_within_a_second_of_the_change(start_service: Start) -> None:
    one, other = (start_service(**KEYLESS) for _ in range(2))
    for teller in (one, other):
        after = (await page(one, after="now"))["next_cursor"]
        polling = asyncio.create_task(page(one, after=after, wait=60))
        done, _ = await asyncio.wait([polling], timeout=0.5)
        assert not done, "there is nothing yet"
        await told(teller, f"by-{id(teller)}")
        began = time.monotonic()
        found = await asyncio.wait_for(polling, SOON)
        assert time.monotonic() - began < 1
        assert [item["generation_id"] for item in found["items"]] == [f"by-{id(teller)}"]


@pytest.mark.either_database
async def test_a_long_poll_is_answered_when_the_service_stops(start_service: Start) -> None:
    service = start_service(**KEYLESS)
    polling = asyncio.create_task(page(service, after=0, wait=60))
    done, _ = await asyncio.wait([polling], timeout=0.5)
    assert not done
    service.process.terminate()
    assert await asyncio.wait_for(polling, 5) == {
        "items": [],
        "next_cursor": "0",
        "has_more": False,
    }


@pytest.mark.either_database
async def test_a_page_is_the_same_bytes_in_both_ways(start_service: Start) -> None:
    service = start_service(**KEYLESS)
    await told(service, "a")
    async with listening(service, after=0) as listener:
        await listener.until(lambda: listener.stream.events)
    assert json.dumps(listener.stream.events) == json.dumps((await page(service))["items"])
