"""A full run: a simulator of Luma, the real service, and Luma's own unchanged clients.

    lumaai, luma-agents ──create──► luma-tracker ──create──► simulator
                                     ▲    │   ▲                  │
    MCP client ──get_generation──────┘    │   └─── callbacks ────┘
                                          └─ signed callback ──► receiver

Lookups are answered from the tracker's database: 0 requests to Luma.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from luma_agents import AsyncLuma
from lumaai import AsyncLumaAI
from mcp import Client
from rich.live import Live
from rich.table import Table

from service.cli.demo_parts import KEY, Receiver, Service, receiving, serving
from service.cli.output import console
from service.simulator import Luma, Plan, Simulator

_TIMEOUT = 60.0  # seconds; far longer than the slowest plan
_POLL_INTERVAL = 0.2  # seconds
_PRICED: Any = {"model": "ray-2", "resolution": "540p", "duration": "5s"}
"""What a price depends on; without it, no price can be shown."""
_PLANS = {
    "too violent": Plan(
        queued=0.5, dreaming=1.0, outcome="failed", failure_reason="Frame moderation failed"
    ),
    "patience": Plan(queued=1.0, dreaming=6.0),
}


async def run(*, stay: bool) -> None:
    """Run the demo; with `stay` the service runs on until Ctrl-C."""
    os.environ.update(NO_PROXY="*", no_proxy="*")  # no request leaves this machine
    simulator = Simulator(default_plan=Plan(queued=0.5, dreaming=2.0), plans=_PLANS)
    with tempfile.TemporaryDirectory(prefix="luma-tracker-") as folder:
        async with (
            simulator.serving() as luma,
            serving(luma, Path(folder)) as service,
            receiving(service.webhook_secret) as receiver,
        ):
            console.print(f"Luma (simulator): {luma.dream_machine_url}")
            console.print(f"                  {luma.agents_url}")
            console.print(f"luma-tracker:     {service.url}")
            console.print(f"A program:        {receiver.url}\n")
            ids = await _create(service, receiver)
            async with Client(f"{service.url}/mcp") as tracker:
                await _watch(tracker, ids)
                await _look_up(tracker, luma, ids)
            await _show_callback(receiver)
            if stay:
                await _stay(service.url, next(iter(ids)))


async def _create(service: Service, receiver: Receiver) -> dict[str, str]:
    """Create generations with Luma's own clients; returns a description of each id."""
    return {**await _create_videos(service), **await _create_image(service, receiver)}


async def _create_videos(service: Service) -> dict[str, str]:
    """Create on Dream Machine; only the base URL is that of the tracker."""
    base_url = f"{service.url}/dream-machine/v1"
    async with AsyncLumaAI(base_url=base_url, auth_token=KEY, max_retries=0) as sdk:
        make = sdk.generations
        video = await make.create(prompt="a lake at sunset", **_PRICED)
        made = {
            "a video": video,
            "an image": await make.image.create(model="photon-1", prompt="a teddy bear"),
            "an upscale": await make.upscale(id=str(video.id), resolution="4k"),
            "one to fail": await make.create(prompt="something too violent", **_PRICED),
            "a slow one": await make.create(prompt="a film that takes patience", **_PRICED),
        }
    return {str(generation.id): description for description, generation in made.items()}


async def _create_image(service: Service, receiver: Receiver) -> dict[str, str]:
    """Create on the Agents API, which cannot call back: the tracker does it in its place."""
    base_url = f"{service.url}/agents/v1"
    async with AsyncLuma(base_url=base_url, auth_token=KEY, max_retries=0) as sdk:
        image = await sdk.generations.create(
            prompt="a poster", model="uni-1", extra_headers={"X-Callback-URL": receiver.url}
        )
    return {image.id: "by Agents API"}


async def _watch(tracker: Client, ids: dict[str, str]) -> None:
    """Show the states until all are terminal and verified with Luma."""
    shown: dict[str, str] = {}
    async with asyncio.timeout(_TIMEOUT):
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                items = await _listed(tracker)
                if console.is_terminal:
                    live.update(_table(items, ids), refresh=True)
                else:
                    _print_changes(items, ids, shown)
                if len(items) == len(ids) and all(i["terminal"] and i["verified"] for i in items):
                    return
                await asyncio.sleep(_POLL_INTERVAL)


async def _listed(tracker: Client) -> list[dict[str, Any]]:
    result = await tracker.call_tool("list_generations", {"limit": 50})
    items: list[dict[str, Any]] = (result.structured_content or {})["items"]
    return items


def _table(items: list[dict[str, Any]], ids: dict[str, str]) -> Table:
    table = Table("description", "id", "state", "source", "rev", box=None, header_style="bold")
    for item in sorted(items, key=lambda item: list(ids).index(item["id"])):
        table.add_row(ids[item["id"]], item["id"], item["state"], item["source"], str(item["rev"]))
    return table


def _print_changes(items: list[dict[str, Any]], ids: dict[str, str], shown: dict[str, str]) -> None:
    """Print a line for each change of state; used in a pipe."""
    for item in items:
        if shown.get(item["id"]) != item["state"]:
            shown[item["id"]] = item["state"]
            console.print(f"{ids[item['id']]:<12} {item['id']} {item['state']}")


async def _look_up(tracker: Client, luma: Luma, ids: dict[str, str]) -> None:
    """Look up every generation as an agent would, and count the requests to Luma."""
    before = luma.count("GET")
    for generation_id, description in ids.items():
        result = await tracker.call_tool("get_generation", {"generation_id": generation_id})
        console.print(f"\n[bold]{description}[/], from the MCP tool get_generation:")
        for block in result.content:
            console.print(getattr(block, "text", ""), markup=False, soft_wrap=True)
    spent = luma.count("GET") - before
    console.print(f"\n{len(ids)} lookups, {spent} requests to Luma.")
    if spent:
        raise RuntimeError(f"The lookups sent {spent} requests to Luma, but should send none.")


async def _show_callback(receiver: Receiver) -> None:
    """Show the callback that the Agents API could not send."""
    callback = await asyncio.wait_for(receiver.completed.get(), _TIMEOUT)
    console.print("\n[bold]The program's callback[/], sent and signed by the tracker:")
    console.print(f"webhook-id: {callback.id}\nsignature: verified", markup=False)
    console.print(f"body: {callback.body}", markup=False, soft_wrap=True)


async def _stay(url: str, generation_id: str) -> None:
    console.print(f"\nThe service runs until Ctrl-C. Open it in a browser:\n  {url}/")
    console.print(f"  {url}/v1/generations/{generation_id}")
    console.print(f"  {url}/docs\n  {url}/mcp", highlight=False)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        console.print("stopped")
