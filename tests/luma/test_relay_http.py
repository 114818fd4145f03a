"""Requests that are passed on: their connections, and what stays of them in memory."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from service.errors import NoneFree
from service.luma import LumaClient
from service.luma.relay import Incoming, Outgoing
from service.simulator import Fault, Luma
from tests.waiting import until_async

ME = "dream_machine"
CONNECTIONS = 200


@pytest.fixture
async def client() -> AsyncIterator[LumaClient]:
    async with LumaClient(5) as opened:
        yield opened


async def send(client: LumaClient, luma: Luma, outgoing: Outgoing) -> Incoming:
    return await client.send(ME, luma.dream_machine_url, "luma-key", outgoing)


async def test_files_leave_connections_for_what_is_limited_in_time(
    client: LumaClient, luma: Luma
) -> None:
    luma.fault(Fault(path="slow", delay=30, times=None))
    slow = [
        asyncio.create_task(send(client, luma, Outgoing("GET", "slow", [], timeout=30)))
        for _ in range(CONNECTIONS)
    ]
    await until_async(lambda: luma.count("GET") == CONNECTIONS)
    with pytest.raises(NoneFree, match="Too many other requests"):
        await send(client, luma, Outgoing("GET", "ping", [], timeout=0.1))
    answer = await send(client, luma, Outgoing("GET", "ping", [], total=5))
    assert await answer.read(1000) == b'{"message":"pong"}'
    for each in slow:
        each.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def answer_created(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 201 to one request, and keep nothing of it."""
    head = await reader.readuntil(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while left:
        left -= len(await reader.read(65_536))
    writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_was_sent_does_not_wait_for_the_garbage_collector(
    client: LumaClient,
) -> None:
    server = await asyncio.start_server(answer_created, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(5):
            outgoing = Outgoing("POST", "generations", [], bytes(4_000_000), total=5)
            answer = await client.send(ME, url, "luma-key", outgoing)
            assert await answer.read(100) == b"{}"
        del outgoing, answer
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
        server.close()
    assert kept < 4_000_000
