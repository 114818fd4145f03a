"""MCP over two file descriptors: compared with the SDK's transport, and on its own."""

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest

from service.mcp_server import Service
from service.mcp_server.stdio_transport import Incoming, Outgoing, serve_connection
from service.tracking.callback_tokens import Grant
from tests.mcp_server.test_direct import CALLS, HELLO, MESSAGES, enveloped, message

pytestmark = pytest.mark.either_database

PATIENCE = 15  # seconds
Serve = Callable[[Service, int, int], Awaitable[None]]


async def by_ours(service: Service, stdin: int, stdout: int) -> None:
    """Serve as `luma-tracker mcp` does."""
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    await serve_connection(service, Incoming(stdin), Outgoing(stdout))


async def by_the_sdk(service: Service, stdin: int, stdout: int) -> None:
    """Serve as the SDK does."""
    with (
        os.fdopen(stdin, encoding="utf-8", errors="replace", closefd=False) as reads,
        os.fdopen(stdout, "w", encoding="utf-8", closefd=False) as writes,
    ):
        files = anyio.wrap_file(reads), anyio.wrap_file(writes)
        async with stdio_server(*files) as (incoming, outgoing):
            await serve_connection(service, incoming, outgoing)


class Talk:
    """One client's side of two pipes."""

    def __init__(self, reads: asyncio.StreamReader, stdin: int) -> None:
        self._reads = reads
        self._stdin = stdin

    async def say(self, said: bytes) -> None:
        """Write bytes unchanged."""
        await asyncio.to_thread(self._write, said)

    async def hear(self) -> dict[str, Any]:
        """Read the next message."""
        line = await asyncio.wait_for(self._reads.readline(), PATIENCE)
        heard: dict[str, Any] = json.loads(line)
        return heard

    async def ask(self, asked: object) -> dict[str, Any]:
        """Send a message, and read the response."""
        await self.say(json.dumps(asked).encode() + b"\n")
        return await self.hear()

    def leave(self) -> None:
        """Close our end."""
        os.close(self._stdin)

    async def rest(self) -> bytes:
        """Read everything until the end."""
        return await asyncio.wait_for(self._reads.read(), PATIENCE)

    def _write(self, said: bytes) -> None:
        view = memoryview(said)
        while view:
            view = view[os.write(self._stdin, view) :]


@asynccontextmanager
async def talking(serve: Serve, service: Service) -> AsyncIterator[Talk]:
    """A server on two pipes; at the end it must have stopped without an error."""
    (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
    reader = asyncio.StreamReader(limit=2**26)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours_out, "rb")
    )
    serving = asyncio.create_task(_until_done(serve, service, theirs_in, theirs_out))
    talk = Talk(reader, ours_in)
    try:
        yield talk
        await asyncio.wait_for(serving, PATIENCE)
    finally:
        serving.cancel()
        transport.close()


async def _until_done(serve: Serve, service: Service, stdin: int, stdout: int) -> None:
    try:
        await serve(service, stdin, stdout)
    finally:
        os.close(stdin)
        os.close(stdout)


@pytest.fixture
async def known(service: Service) -> Service:
    """A service with rows."""
    body = {"id": "done", "state": "completed", "request": {"prompt": "ein Märchen 😀"}}
    await service.tracker.deliveries.receive(json.dumps(body).encode(), Grant())
    return service


READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
STORED = [call for call in CALLS if not re.search("nobody|dreaming|failed", str(call))]
"""Requests that are answered without Luma, and so in their order."""
OLD: list[Any] = [message("initialize", HELLO, 0), READY]
OLD += [*(message(*call) for call in STORED), *MESSAGES]
NEW = [enveloped(asked) if isinstance(asked, dict) else asked for asked in OLD[2:]]
ODD = [
    b"nonsense",
    b"",
    b"   ",
    b'{"jsonrpc": "2.0", "id": 900, "method": "ping"}\r',
    b'{"jsonrpc": "2.0", "id": "\xff", "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": 901, "method": "ping", "params": {"a": NaN}}',
    b"\xef\xbb\xbf" + b'{"jsonrpc": "2.0", "id": 902, "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": 903, "method": "ping"} {"jsonrpc": "2.0", "id": 904}',
    b"[" * 100_000,
]


@pytest.mark.parametrize(
    "lines",
    [
        [json.dumps(each).encode() for each in OLD] + ODD,
        [json.dumps(each).encode() for each in NEW] + ODD,
        [json.dumps(message("ping", {})).encode(), json.dumps(enveloped(OLD[0])).encode(), *ODD],
    ],
    ids=["2025", "2026", "no-handshake"],
)
async def test_both_transports_answer_alike(known: Service, lines: list[bytes]) -> None:
    answers = list[list[str]]()
    for serve in (by_ours, by_the_sdk):
        async with talking(serve, known) as talk:
            heard = []
            for n, line in enumerate(lines):  # one after the other, so that the order is the same
                await talk.say(line + b"\n" + json.dumps(_mark(n)).encode() + b"\n")
                while (said := await talk.hear()).get("id") != f"mark {n}":
                    heard.append(said)
                while (asked := _id_of(line)) and asked not in [each.get("id") for each in heard]:
                    heard.append(await talk.hear())  # the database may answer after the mark
            while answers and len(heard) < len(answers[0]):
                heard.append(await talk.hear())  # a slow answer, which the SDK would cut off
            talk.leave()
            heard += map(json.loads, (await talk.rest()).splitlines())
            answers.append(sorted(map(json.dumps, heard)))
    assert answers[0] == answers[1]
    assert len(answers[0]) > 3


def _id_of(line: bytes) -> Any:
    """The id of a request that is answered; None for everything else."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_call = isinstance(said, dict) and said.get("method") == "tools/call"
    return said.get("id") if is_call else None


def _mark(n: int) -> dict[str, Any]:
    return enveloped({"jsonrpc": "2.0", "id": f"mark {n}", "method": "server/discover"})


async def test_messages_are_told_apart_however_they_come(known: Service) -> None:
    async with talking(by_ours, known) as talk:
        await talk.ask(message("initialize", HELLO, 0))
        pings = [json.dumps(message("ping", {}, n)).encode() + b"\n" for n in range(50)]
        await talk.say(b"".join(pings))
        assert sorted([(await talk.hear())["id"] for _ in pings]) == [*range(50)]
        for byte in pings[0]:
            await talk.say(bytes([byte]))
        assert (await talk.hear())["id"] == 0
        await talk.say(pings[1].rstrip())
        talk.leave()
        rest = (await talk.rest()).splitlines()
        assert len(rest) <= 1, "a last line without an end is a message, if there is time for it"


async def test_a_large_message_comes_and_goes_whole(known: Service) -> None:
    large = "x" * 3_000_000
    asked = message("tools/call", {"name": large, "arguments": {}})
    async with talking(by_ours, known) as talk:
        await talk.ask(message("initialize", HELLO, 0))
        both = json.dumps(asked).encode() + b"\n"
        await talk.say(both * 2)
        for _ in range(2):
            assert large in (await talk.hear())["error"]["message"]
        talk.leave()
        assert await talk.rest() == b""


async def test_who_does_not_listen_does_not_hold_up_what_it_says(known: Service) -> None:
    """Responses fill the pipe while requests arrive: none is lost, and no line is broken."""
    asked = json.dumps(message("tools/list", {})).encode() + b"\n"
    async with talking(by_ours, known) as talk:
        await talk.ask(message("initialize", HELLO, 0))
        await talk.say(asked * 500)
        for _ in range(500):
            assert (await talk.hear())["result"]["tools"]
        talk.leave()


async def test_a_line_is_written_whole_even_if_its_request_is_cancelled() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    outgoing = Outgoing(writes)
    long = SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="x" * 1_000_000))
    short = SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="y"))
    with os.fdopen(reads, "rb") as client:
        async with anyio.create_task_group() as group:
            group.start_soon(outgoing.send, long)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
            whole = asyncio.create_task(asyncio.to_thread(client.readline))
        await outgoing.send(short)
        line = await asyncio.wait_for(whole, PATIENCE)
        assert json.loads(line)["method"] == "x" * 1_000_000
        assert json.loads(client.readline())["method"] == "y"
    os.close(writes)


async def test_a_client_that_has_gone_is_no_failure(known: Service) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with pytest.raises(anyio.BrokenResourceError):
        await Outgoing(writes).send(
            SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=1, method="ping"))
        )
    os.close(writes)


async def test_a_file_and_a_socket_do_as_well_as_a_pipe(known: Service, tmp_path: Path) -> None:
    said = b"".join(json.dumps(each).encode() + b"\n" for each in (OLD[0], message("ping", {})))
    asked, answered = tmp_path / "in", tmp_path / "out"
    asked.write_bytes(said)
    with asked.open("rb") as stdin, answered.open("wb") as stdout:
        await by_ours(known, stdin.fileno(), stdout.fileno())
    assert json.loads(answered.read_bytes().splitlines()[0])["id"] == 0
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serving = asyncio.create_task(by_ours(known, theirs.fileno(), theirs.fileno()))
        ours.sendall(said)
        heard = await asyncio.to_thread(ours.makefile("rb").readline)
        assert json.loads(heard)["result"]["serverInfo"]["name"] == "luma-tracker"
        ours.shutdown(socket.SHUT_WR)
        await asyncio.wait_for(serving, PATIENCE)
