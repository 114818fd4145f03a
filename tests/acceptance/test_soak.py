"""It stays small: memory and open files after a while of everything are what they were before.

`SOAK_SECONDS` makes it longer; two minutes are what a release is tried with.
"""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from mcp import Client

from service.simulator import Luma, Plan
from tests.acceptance.conftest import Service
from tests.acceptance.storm import life_of
from tests.thoroughness import rounds
from tests.waiting import until

SECONDS = float(os.environ.get("SOAK_SECONDS", rounds(8, 12)))
WARM_UP = 0.5
"""How much of the time is for caches to fill."""
PHASES = 3
"""How often is measured after that."""

pytestmark = [
    pytest.mark.either_database,
    pytest.mark.thorough,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc"),
]


class Load:
    """What the outside does to a service, all at once."""

    def __init__(self, service: Service, luma: Luma) -> None:
        self.done = 0
        self._service = service
        self._url = service.callback_url
        self._luma = luma
        self._serial: Iterator[int] = itertools.count()
        self._known: list[str] = []

    async def go_on(self, seconds: float) -> None:
        """Do everything for so long, then hang up."""
        until_when = time.monotonic() + seconds
        doing = [self.call_back, self.call_back, self.play, self.look_up, self.look_up]
        doing += [self.list_all, self.wait, self.look_in, self.speak_mcp]
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(
            base_url=self._service.url, limits=limits, timeout=30
        ) as client:
            await self.call_back(client)  # so that there is something to ask for
            await asyncio.gather(*(self._repeat(each, client, until_when) for each in doing))

    async def _repeat(
        self,
        do: Callable[[httpx.AsyncClient], Awaitable[None]],
        client: httpx.AsyncClient,
        until_when: float,
    ) -> None:
        while time.monotonic() < until_when:
            await do(client)
            self.done += 1

    async def call_back(self, client: httpx.AsyncClient) -> None:
        generation_id = f"soak-{next(self._serial)}"
        for body in life_of(generation_id, "dreaming", "completed"):
            for _ in range(2):
                assert (await client.post(self._url, content=body)).status_code == 200
        self._remember(generation_id)

    async def play(self, client: httpx.AsyncClient) -> None:
        """A generation of Luma's own, callbacks, verification and all."""
        generation_id = self._luma.create(plan=Plan(0.1, 0.5), callback_url=self._url)
        await self._luma.advance_async(0.3)
        self._remember(generation_id)

    async def look_up(self, client: httpx.AsyncClient) -> None:
        for generation_id in (*self._some(5), f"nobody-{random.randrange(100)}"):
            answer = await client.get(f"/v1/generations/{generation_id}")
            assert answer.status_code in (200, 404, 503)

    async def list_all(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/v1/generations", params={"limit": 50, "state": "completed"})
        assert answer.status_code == 200
        for generation_id in self._some(1):
            await client.get(f"/v1/generations/{generation_id}/events")

    async def wait(self, client: httpx.AsyncClient) -> None:
        for generation_id in self._some(1):
            await client.get(f"/v1/generations/{generation_id}", params={"wait": 0.3})

    async def look_in(self, client: httpx.AsyncClient) -> None:
        for path in ("/v1/deliveries", "/readyz", "/metrics", "/nowhere"):
            await client.get(path)
        assert (await client.post("/callbacks/wrong", content=b"{}")).status_code == 404
        await client.post(self._url, content=b"no JSON")
        await asyncio.sleep(0.1)

    async def speak_mcp(self, client: httpx.AsyncClient) -> None:
        async with Client(f"{self._service.url}/mcp") as agent:
            for generation_id in self._some(2):
                await agent.call_tool("get_generation", {"generation_id": generation_id})
            await agent.call_tool("list_generations", {"limit": 5})

    def _remember(self, generation_id: str) -> None:
        self._known.append(generation_id)
        del self._known[:-500]

    def _some(self, number: int) -> list[str]:
        return random.choices(self._known, k=number)


def memory(service: Service) -> float:
    """MiB that it occupies."""
    pages = int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def files(service: Service) -> int:
    """How many files and sockets it has open, once it has noticed that we hung up."""
    counts = list[int]()

    def steady() -> bool:
        counts.append(len(list(Path(f"/proc/{service.process.pid}/fd").iterdir())))
        return len(counts) >= 20 and len(set(counts[-20:])) == 1

    until(steady, seconds=10)
    return counts[-1]


def test_after_a_while_of_everything_it_is_as_small_as_before(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    service = start_service(LUMA_AGENTS_API_KEY="", TRACKER_DREAM_MACHINE_RATE="50/second")
    load = Load(service, luma)
    figures = list[tuple[float, int]]()
    asyncio.run(load.go_on(SECONDS * WARM_UP))
    figures.append((memory(service), files(service)))
    for _ in range(PHASES):
        asyncio.run(load.go_on(SECONDS * (1 - WARM_UP) / PHASES))
        figures.append((memory(service), files(service)))

    told = ", ".join(f"{mib:.1f} MiB {count} files" for mib, count in figures)
    print(f"{SECONDS:g} s, {load.done} rounds: {told}")
    (before, files_before), rest = figures[0], figures[1:]
    assert all(abs(mib - before) <= 0.1 * before for mib, _ in rest), told
    assert all(abs(count - files_before) <= 5 for _, count in rest), told
    assert service.process.poll() is None
    assert httpx.get(f"{service.url}/readyz").status_code == 200
