"""The row of waiting agents: many waits for one generation, which one callback ends."""

import asyncio
import json
from statistics import median
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.asking import Request, Wrong, ask
from benchmarks.callbacks import body_of
from benchmarks.finding import Finding
from benchmarks.processes import Server
from benchmarks.stage import BEARER, CALLBACK, Stage

_WAITERS = 500
_IDLE = 2.0  # seconds in which nothing happens
_ROUNDS, _QUICK_ROUNDS = 6, 3
_PATIENCE = 30.0  # seconds
_MILLISECONDS = 1000
_HEADERS = {
    **BEARER,
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}


class Round(NamedTuple):
    """One generation, and all that waited for it."""

    told: float
    """Seconds from the callback to its own answer."""
    last: float
    """Seconds from the callback to the last waiter's answer."""
    idle: float
    """Share of a CPU while nothing happened."""
    cpu: float
    """Seconds of CPU for all answers."""


def waiting(stage: Stage) -> Finding:
    """How long after the callback the last of the waiters has its answer."""
    with stage.service("waited-for") as server:
        count = _QUICK_ROUNDS if stage.quick else _ROUNDS
        rounds = [asyncio.run(_round(server, f"waited-{n}")) for n in range(count)]
    kept = rounds[1:]  # the first one warms up
    last, told = (median(each) * _MILLISECONDS for each in ((r.last for r in kept), _told(kept)))
    idle, cpu = median(r.idle for r in kept), median(r.cpu for r in kept)
    other = f"{idle:.1%} of a core while they wait, {cpu * _MILLISECONDS:.0f} ms of CPU for all"
    return Finding(last, f"{last:,.0f} ms", f"callback answered in {told:,.1f} ms", other)


def _told(rounds: list[Round]) -> list[float]:
    return [each.told for each in rounds]


async def _round(server: Server, generation_id: str) -> Round:
    await asyncio.to_thread(_callback, server, generation_id, "dreaming")
    waits = [asyncio.create_task(_wait(server.url, generation_id)) for _ in range(_WAITERS)]
    await asyncio.sleep(_IDLE)  # all have arrived
    before, begun = server.cpu() or 0, perf_counter()
    await asyncio.sleep(_IDLE)
    idle = ((server.cpu() or 0) - before) / (perf_counter() - begun)
    before, begun = server.cpu() or 0, perf_counter()
    await asyncio.to_thread(_callback, server, generation_id, "completed")
    told = perf_counter() - begun
    ended = await asyncio.wait_for(asyncio.gather(*waits), _PATIENCE)
    return Round(told, max(ended) - begun, idle, (server.cpu() or 0) - before)


def _callback(server: Server, generation_id: str, state: str) -> None:
    body = json.dumps(body_of(generation_id, state)).encode()
    ask(server.url, Request(CALLBACK, "POST", {}, body))


async def _wait(url: str, generation_id: str) -> float:
    """Return when the answer was there."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(_request(generation_id).encoded(parts.netloc))
        head = await reader.readuntil(b"\r\n\r\n")
        ended = perf_counter()
        if not head.startswith(b"HTTP/1.1 200"):
            raise Wrong(f"wait_for_generation answered {head[:200]!r}")
    finally:
        writer.close()
    return ended


def _request(generation_id: str) -> Request:
    params = {"name": "wait_for_generation", "arguments": {"generation_id": generation_id}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return Request("/mcp", "POST", _HEADERS, json.dumps(asked).encode())
