"""`wait_for_generation`, in process and over HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from mcp import Client
from starlette.applications import Starlette

from service.mcp_server import HttpTransport, Service, make_server
from service.mcp_server.reading import WaitForGeneration
from service.simulator import Luma
from service.tracking.callback_tokens import Grant
from service.web.mcp import McpEndpoint
from tests.conftest import Clock
from tests.mcp_server.test_direct import BOTH, NEW, OLD, enveloped, headers_for, message
from tests.mcp_server.test_server import call, text_of
from tests.served import served_here

pytestmark = pytest.mark.either_database

PATIENCE = 15  # seconds


async def report(service: Service, generation_id: str, state: str) -> None:
    """Receive a callback."""
    body = {"id": generation_id, "state": state}
    await service.tracker.deliveries.receive(json.dumps(body).encode(), Grant())


async def eventually(holds: Callable[[], object]) -> None:
    """Return as soon as something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@asynccontextmanager
async def over_http(service: Service, *, fast: bool = True) -> AsyncIterator[str]:
    """The URL of MCP on a real socket."""
    app = Starlette()
    app.add_middleware(McpEndpoint, state=app.state)
    app.state.mcp = HttpTransport(service, fast=fast)
    async with app.state.mcp.run(), served_here(app) as url:
        yield f"{url}/mcp"


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A connected client."""
    async with Client(make_server(service)) as connected:
        yield connected


def test_the_default_and_the_longest_wait_are_below_the_patience_of_clients() -> None:
    assert WaitForGeneration(generation_id="a").timeout_seconds == 45
    schema = WaitForGeneration.model_json_schema()["properties"]["timeout_seconds"]
    assert (schema["minimum"], schema["maximum"]) == (1, 55)


async def test_what_is_finished_is_answered_at_once(client: Client, service: Service) -> None:
    await report(service, "g", "completed")
    result = await call(client, "wait_for_generation", generation_id="g")
    got = await call(client, "get_generation", generation_id="g")
    assert result.structured_content
    assert got.structured_content
    more = {"timed_out": False, "next_step": result.structured_content["next_step"]}
    assert result.structured_content == {**got.structured_content, **more}
    assert "confirm" in more["next_step"], "only a callback has said it"
    assert text_of(result).startswith("Generation ID: g\nState: completed\n")


async def test_a_callback_ends_the_wait(client: Client, service: Service) -> None:
    await report(service, "g", "dreaming")
    waiting = asyncio.create_task(call(client, "wait_for_generation", generation_id="g"))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    await report(service, "g", "failed")
    result = await asyncio.wait_for(waiting, PATIENCE)
    assert result.structured_content
    assert result.structured_content["state"] == "failed"
    assert result.structured_content["timed_out"] is False
    assert "Reason: not reported" in text_of(result)


async def test_a_timeout_is_a_usual_result_with_the_next_step(
    client: Client, service: Service
) -> None:
    await report(service, "g", "dreaming")
    result = await call(client, "wait_for_generation", generation_id="g", timeout_seconds=1)
    assert not result.is_error
    found = result.structured_content
    assert found
    assert found["timed_out"] is True
    assert found["state"] == "dreaming"
    assert found["next_step"] in text_of(result).splitlines()
    assert "Call wait_for_generation with generation_id g." in found["next_step"]


async def test_an_unknown_generation_is_an_error_after_the_wait(client: Client) -> None:
    result = await call(client, "wait_for_generation", generation_id="nobody", timeout_seconds=1)
    assert text_of(result).startswith("Error waiting for generation nobody: ")
    assert "Check the id" in text_of(result)
    impossible = await call(client, "wait_for_generation", generation_id="a b")
    assert "1-128" in text_of(impossible)


async def test_many_waiters_cost_one_request_and_all_are_answered(
    service: Service, luma: Luma, clock: Clock
) -> None:
    made = luma.create()
    async with Client(make_server(service)) as client:
        waits = [
            asyncio.create_task(call(client, "wait_for_generation", generation_id=made))
            for _ in range(100)
        ]
        await eventually(lambda: luma.count("GET", made))
        await asyncio.sleep(0)
        await report(service, made, "completed")
        results = await asyncio.wait_for(asyncio.gather(*waits), PATIENCE)
    assert {r.structured_content["state"] for r in results if r.structured_content} == {"completed"}
    assert luma.count("GET", f"/dream-machine/v1/generations/{made}") == 1


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_progress_is_reported_to_who_asks_for_it(
    service: Service, mode: str, *, fast: bool
) -> None:
    await report(service, "g", "dreaming")
    heard: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))
        if len(heard) == 2:
            await report(service, "g", "completed")

    async with (
        over_http(replace(service, report_every=0.05), fast=fast) as url,
        Client(url, mode=mode) as client,
    ):
        asked = {"generation_id": "g"}
        result = await client.call_tool("wait_for_generation", asked, progress_callback=note)
    assert [progress for progress, _, _ in heard][:2] == pytest.approx([0.05, 0.1])
    assert heard[0][1:] == (45.0, "Waited 0 s of 45 s.")
    assert result.structured_content
    assert result.structured_content["state"] == "completed"


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("token", [None, 7])
async def test_the_response_is_a_stream_only_for_who_wants_progress(
    service: Service, version: str, token: int | None, *, fast: bool
) -> None:
    await report(service, "g", "dreaming")
    async with over_http(replace(service, report_every=0.05), fast=fast) as url:
        answer = await _posted(url, version, token, timeout_seconds=1)
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    assert is_stream == (token is not None)
    assert answer.text.count("notifications/progress") >= (2 if is_stream else 0)
    assert '"timed_out":true' in answer.text


async def test_who_takes_json_alone_gets_it(service: Service) -> None:
    await report(service, "g", "completed")
    async with over_http(service) as url:
        answer = await _posted(url, OLD, 7, Accept="application/json")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("token", [None, 7])
async def test_a_client_that_leaves_leaves_nothing_behind(
    service: Service, version: str, token: int | None, *, fast: bool
) -> None:
    await report(service, "g", "dreaming")
    async with over_http(replace(service, report_every=0.05), fast=fast) as url:
        await _posted(url, version, token, "warm-up", timeout_seconds=1)
        before = len(asyncio.all_tasks())
        with pytest.raises(TimeoutError):
            await _posted(url, version, token, patience=0.3)
        await eventually(lambda: len(asyncio.all_tasks()) <= before)


async def _posted(
    url: str,
    version: str,
    token: int | None,
    generation_id: str = "g",
    *,
    timeout_seconds: int = 45,
    patience: float = PATIENCE,
    **headers: str,
) -> httpx.Response:
    """Send the call as a client of that version does."""
    arguments = {"generation_id": generation_id, "timeout_seconds": timeout_seconds}
    params: dict[str, Any] = {"name": "wait_for_generation", "arguments": arguments}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    asked = message("tools/call", params)
    body = enveloped(asked) if version == NEW else asked
    sent = {**dict(headers_for(version, asked)), **BOTH, **headers}
    async with (
        asyncio.timeout(patience),  # a stream is never silent for long
        httpx.AsyncClient(timeout=PATIENCE) as http,
    ):
        return await http.post(url, headers=sent, json=body)
