"""How long after a commit on one instance another one shows it.

    python -m benchmarks.coherence --changes 1000

Two instances on a PostgreSQL of the script's own, with its usual durability. Callbacks go to the
one; on the other somebody reads the row, waits for it, and follows the stream of events. Each
time begins when the callback has been answered, so when it was committed.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from uuid import uuid4

import httpx

from service.simulator import ManualClock, Simulator
from tests.acceptance.conftest import KEYLESS, Service, environment_for
from tests.acceptance.storm import life_of
from tests.postgres import serving

ALLOWED = 0.050
"""Seconds that 99 of 100 may take."""

Showing = Callable[[str, asyncio.Event], Coroutine[Any, Any, float]]
"""When the other instance showed a generation's end; sets the event when it is about to look."""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--changes", type=int, default=1000, help="how many, of each way")
    parser.add_argument("--check", action="store_true", help="fail if p99 is over 50 ms")
    given = parser.parse_args()
    with instances() as (told, asked):
        measured = asyncio.run(measure(told, asked, given.changes))
    slow = [way for way, times in measured.items() if report(way, times) > ALLOWED]
    if given.check and slow:
        sys.exit(f"p99 over {ALLOWED * 1000:.0f} ms: {', '.join(slow)}")


@contextmanager
def instances() -> Iterator[tuple[Service, Service]]:
    """Two services on one database."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving({}) as server,
        Simulator(clock=ManualClock()).running() as luma,
    ):
        environment = environment_for(
            Path(folder), luma, **KEYLESS, TRACKER_DATABASE_URL=server.url()
        )
        services = [Service(environment, Path(folder)) for _ in range(2)]
        try:
            for service in services:
                service.start()
                httpx.get(f"{service.url}/readyz", timeout=30).raise_for_status()
            yield services[0], services[1]
        finally:
            for service in services:
                service.stop()


async def measure(told: Service, asked: Service, changes: int) -> dict[str, list[float]]:
    """Seconds by way of looking."""
    limits = httpx.Limits(max_keepalive_connections=10)
    async with (
        httpx.AsyncClient(timeout=60, limits=limits) as client,
        following(client, asked) as follow,
    ):
        ways: dict[str, Showing] = {
            "read": reading(client, asked),
            "long-poll": waiting(client, asked),
            "stream": follow,
        }
        return {
            way: [await once(client, told, showing) for _ in range(changes)]
            for way, showing in ways.items()
        }


async def once(client: httpx.AsyncClient, told: Service, showing: Showing) -> float:
    """Seconds from the commit until it shows; 0 if it showed before we heard of the commit."""
    generation_id = str(uuid4())
    dreaming, completed = life_of(generation_id, "dreaming", "completed")
    (await client.post(told.callback_url, content=dreaming)).raise_for_status()
    looking = asyncio.Event()
    shown = asyncio.create_task(showing(generation_id, looking))
    await looking.wait()
    (await client.post(told.callback_url, content=completed)).raise_for_status()
    committed = perf_counter()
    return max(0.0, await shown - committed)


def reading(client: httpx.AsyncClient, asked: Service) -> Showing:
    """Ask again and again."""

    async def show(generation_id: str, looking: asyncio.Event) -> float:
        looking.set()
        while True:
            answer = await client.get(f"{asked.url}/v1/generations/{generation_id}")
            if answer.json()["state"] == "completed":
                return perf_counter()

    return show


def waiting(client: httpx.AsyncClient, asked: Service) -> Showing:
    """Ask once, and wait."""

    async def show(generation_id: str, looking: asyncio.Event) -> float:
        url = f"{asked.url}/v1/generations/{generation_id}?wait=30"
        answer = asyncio.create_task(client.get(url))
        await asyncio.sleep(0.02)  # it is on its way, and most likely there
        looking.set()
        if (await answer).json()["state"] != "completed":
            raise RuntimeError(f"{generation_id} has not ended within 30 s")
        return perf_counter()

    return show


@asynccontextmanager
async def following(client: httpx.AsyncClient, asked: Service) -> AsyncIterator[Showing]:
    """Listen to one stream all the time."""
    ended: dict[str, asyncio.Future[float]] = {}

    async def listen() -> None:
        headers = {"Accept": "text/event-stream"}
        async with client.stream("GET", f"{asked.url}/v1/events", headers=headers) as answer:
            async for line in answer.aiter_lines():
                if '"to_state":"completed"' in line:
                    generation_id = line.partition('"generation_id":"')[2].partition('"')[0]
                    if generation_id in ended:
                        ended[generation_id].set_result(perf_counter())

    async def show(generation_id: str, looking: asyncio.Event) -> float:
        ended[generation_id] = asyncio.get_running_loop().create_future()
        looking.set()
        return await asyncio.wait_for(ended[generation_id], 30)

    listening = asyncio.create_task(listen())
    try:
        yield show
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def report(way: str, times: list[float]) -> float:
    """One line; answers the 99th of 100."""
    p99 = quantiles(times, n=100)[98] if len(times) > 1 else times[0]
    print(f"{way:10}  {len(times):6} changes  p50 {median(times) * 1000:6.1f} ms", end="  ")
    print(f"p99 {p99 * 1000:6.1f} ms  longest {max(times) * 1000:6.1f} ms", flush=True)
    return p99


if __name__ == "__main__":
    main()
