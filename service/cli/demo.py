"""A full run: a simulator of Luma, the real service, and the real `lumaai` client.

lumaai SDK ──create, with a callback URL────► simulator
                                                 │ callbacks, over real sockets
MCP client ──get_generation──► luma-tracker ◄────┘
                                    └─ answers from its database: 0 requests upstream
"""

import asyncio
import os
import re
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lumaai import AsyncLumaAI
from mcp import Client
from rich.live import Live
from rich.table import Table

from service.cli.output import console
from service.simulator import Luma, Plan, Simulator
from service.tracking.callback_tokens import CallbackTokens

_KEY = "demo"  # the simulator accepts any
_TIMEOUT = 60.0  # seconds; far longer than the slowest plan
_POLL_INTERVAL = 0.2  # seconds
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
        async with simulator.serving() as luma, _service(luma, Path(folder)) as (url, callback_url):
            console.print(f"Luma (simulator): {luma.dream_machine_url}\nluma-tracker:     {url}\n")
            ids = await _create(luma, callback_url)
            async with Client(f"{url}/mcp") as tracker:
                await _watch(tracker, ids)
                await _look_up(tracker, luma, ids)
            if stay:
                await _stay(url, next(iter(ids)))


@asynccontextmanager
async def _service(luma: Luma, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Run the service in a separate process; yields its URL and a callback URL."""
    secret = secrets.token_urlsafe(32)
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TRACKER_", "LUMA"))
        },
        "LUMAAI_API_KEY": _KEY,
        "TRACKER_DREAM_MACHINE_URL": luma.dream_machine_url,
        "TRACKER_DATABASE_URL": f"sqlite:///{folder / 'tracker.db'}",
        "TRACKER_CALLBACK_SECRET": secret,
        "TRACKER_PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "serve"),
        env=environment,
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches only this process, which then ends that one
    )
    try:
        url = await asyncio.wait_for(_url_of(process), _TIMEOUT)
        yield url, f"{url}/callbacks/{CallbackTokens([secret]).reusable()}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _url_of(process: asyncio.subprocess.Process) -> str:
    """Read the service's URL from its log."""
    logged = b""
    assert process.stderr is not None  # noqa: S101 - stderr is a pipe
    async for line in process.stderr:
        logged += line
        if found := re.search(rb"listening url=(\S+)", line):
            return found[1].decode()
    raise RuntimeError(f"The service did not start:\n{logged.decode()}")


async def _create(luma: Luma, callback_url: str) -> dict[str, str]:
    """Create five generations with Luma's client; returns a description of each id."""
    async with AsyncLumaAI(base_url=luma.dream_machine_url, auth_token=_KEY, max_retries=0) as sdk:
        make = sdk.generations
        callback: dict[str, Any] = {"callback_url": callback_url}
        video = await make.create(model="ray-2", prompt="a lake at sunset", **callback)
        made = {
            "a video": video,
            "an image": await make.image.create(
                model="photon-1", prompt="a teddy bear", **callback
            ),
            "an upscale": await make.upscale(id=str(video.id), resolution="4k", **callback),
            "one to fail": await make.create(
                model="ray-2", prompt="something too violent", **callback
            ),
            "a slow one": await make.create(
                model="ray-2", prompt="a film that takes patience", **callback
            ),
        }
    return {str(generation.id): description for description, generation in made.items()}


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


async def _stay(url: str, generation_id: str) -> None:
    console.print(f"\nThe service runs until Ctrl-C:\n  {url}/v1/generations/{generation_id}")
    console.print(f"  {url}/docs\n  {url}/mcp", highlight=False)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        console.print("stopped")
