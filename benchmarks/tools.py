"""Rows of MCP: what a call of a tool costs, over HTTP in both eras of it, and over stdio."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from statistics import median
from time import perf_counter

import httpx
import httpx2
from anyio.from_thread import start_blocking_portal
from mcp import Client, ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from benchmarks.asking import Line, Request, Wrong, ask
from benchmarks.finding import Finding, by_cost, by_rate
from benchmarks.processes import Server, environment
from benchmarks.slices import Slice, interleave
from benchmarks.stage import BEARER, Stage
from service.simulator import Fault, Luma, ManualClock, Simulator

HANDSHAKE = "legacy"
MODERN = "2026-07-28"
_DELAY = 0.150  # seconds that Luma takes to answer
_CALLS = 50
_CALLS_PER_CLIENT = 3
_OF_CONNECTION = ("host", "content-length", "connection", "accept-encoding", "user-agent")


def handshake(stage: Stage) -> Finding:
    """As clients of 2025 call, after their handshake."""
    return _in_plain_answers(stage, HANDSHAKE)


def modern(stage: Stage) -> Finding:
    """As clients of 2026-07-28 call."""
    return _in_plain_answers(stage, MODERN)


def _in_plain_answers(stage: Stage, era: str) -> Finding:
    call = asyncio.run(captured(stage.ours.url, era, stage.generation_id))
    answer = ask(stage.ours.url, call).body.decode()
    if f"Generation ID: {stage.generation_id}" not in answer:
        raise Wrong(f"get_generation answered {answer[:300]}")
    plain = stage.hammer(stage.plain, Request(f"/generations/{stage.generation_id}"))
    return by_cost(interleave(stage.hammer(stage.ours, call), plain, stage.times))


async def captured(url: str, era: str, generation_id: str) -> Request:
    """What the installed client sends when it calls get_generation."""
    sent: list[httpx2.Request] = []

    async def note(request: httpx2.Request) -> None:
        if b"tools/call" in request.content:
            sent.append(request)

    async with httpx2.AsyncClient(headers=BEARER, event_hooks={"request": [note]}) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=era) as client:
            await client.call_tool("get_generation", {"generation_id": generation_id})
    headers = {k: v for k, v in sent[-1].headers.items() if k not in _OF_CONNECTION}
    return Request("/mcp", "POST", headers, sent[-1].content)


def upstream_slow(stage: Stage) -> Finding:
    """One client's call, against a tool that asks Luma at each."""
    with Simulator(clock=ManualClock()).running() as luma, _tools(stage, luma) as (ours, peer):
        generation_id = luma.create("video")
        luma.advance(60)
        luma.fault(Fault(delay=_DELAY, times=None))
        call = asyncio.run(captured(ours.url, HANDSHAKE, generation_id))
        fast = _seconds(ours, call, _CALLS * stage.times)
        slow = _seconds(peer, call, _CALLS_PER_CLIENT * stage.times)
    shown = (f"{median(seconds) * 1000:,.2f} ms" for seconds in (fast, slow))
    return Finding(median(slow) / median(fast), *shown)


@contextmanager
def _tools(stage: Stage, luma: Luma) -> Iterator[tuple[Server, Server]]:
    settings = {
        "LUMAAI_API_KEY": "luma-key",
        "TRACKER_DREAM_MACHINE_URL": luma.dream_machine_url,
    }
    with (
        stage.service("asking", None, **settings) as ours,
        stage.peer("per_call", luma.dream_machine_url) as peer,
    ):
        yield ours, peer


def _seconds(server: Server, call: Request, times: int) -> list[float]:
    """How long each call takes that one client makes."""
    found = []
    with Line(server.url) as line:
        for _ in range(times):
            begun = perf_counter()
            answer = line.ask(call)
            found.append(perf_counter() - begun)
            if answer.status != 200 or b"Generation ID:" not in answer.body:
                raise Wrong(f"{answer.status} {answer.body[:300]!r}")
    return found


def stdio(stage: Stage) -> Finding:
    """get_generation over stdio, against the lookup over HTTP by the same program."""
    wanted = {"generation_id": stage.generation_id}
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_session(stage)) as session,
        portal.wrap_async_context_manager(
            httpx.AsyncClient(base_url=stage.ours.url, headers=BEARER)
        ) as http,
    ):

        async def call() -> bool:
            return not (await session.call_tool("get_generation", wanted)).is_error

        async def get() -> bool:
            return (await http.get(stage.reading.path)).status_code == 200

        compared = interleave(
            lambda: portal.call(_slice, stage.seconds, call),
            lambda: portal.call(_slice, stage.seconds, get),
            stage.times,
        )
    return by_rate(compared)


async def _slice(length: float, ask: Callable[[], Awaitable[bool]]) -> Slice:
    """One question after the other."""
    begun, answers = perf_counter(), 0
    while (seconds := perf_counter() - begun) < length:
        if not await ask():
            raise Wrong("a lookup failed")
        answers += 1
    return Slice(answers, seconds, None)


@asynccontextmanager
async def _session(stage: Stage) -> AsyncIterator[ClientSession]:
    """`luma-tracker mcp` on the store of ours, and a client of it."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "service", "mcp"],
        env=environment(**stage.settings(stage.ours.folder, None)),
        cwd=stage.ours.folder,
    )
    async with stdio_client(server) as pipes, ClientSession(*pipes) as session:
        await session.initialize()
        yield session
