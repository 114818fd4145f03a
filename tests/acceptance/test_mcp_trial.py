"""An agent's trial: a client that knows only what the server says of itself.

It finds tools by the words of their descriptions, fills in arguments by their schemas, and reads
only what clients show to a model: the structured content of a success, the text of an error.
"""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Tool

from tests.acceptance.conftest import Running, run_service
from tests.acceptance.talk import body_of, call_back, new_id, refusal_of, text_of

pytestmark = pytest.mark.either_database

_OTHERS = ("http-2025", "stdio-2025", "stdio-2026")
TRANSPORTS = ["http-2026", *(pytest.param(way, marks=pytest.mark.thorough) for way in _OTHERS)]
TOKENS = "writer,ro:reader"
PATIENCE = 20  # seconds


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with tokens that asks Luma often."""
    settings = {"TRACKER_STALE_AFTER": "0.2", "TRACKER_API_TOKENS": TOKENS}
    with run_service(tmp_path_factory.mktemp("trial"), **settings) as started:
        started.http.headers["Authorization"] = "Bearer writer"
        yield started


@asynccontextmanager
async def connected(
    running: Running, transport: str, *, may_write: bool = True
) -> AsyncIterator[Client]:
    """A client by a transport, in an era of the protocol."""
    way, _, era = transport.partition("-")
    mode = "legacy" if era == "2025" else "auto"
    if way == "stdio":
        read_only = {} if may_write else {"TRACKER_MCP_READ_ONLY": "true"}
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "service", "mcp"],
            env={**running.service.environment, **read_only},
            cwd=running.service.folder,
        )
        async with Client(server, mode=mode) as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {'writer' if may_write else 'reader'}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        stream = streamable_http_client(f"{running.service.url}/mcp", http_client=http)
        async with Client(stream, mode=mode) as client:
            yield client


class Agent:
    """Knows nothing of Luma but what it is told."""

    def __init__(self, client: Client, tools: list[Tool]) -> None:
        self._client = client
        self._tools = tools
        self.used: list[str] = []

    @classmethod
    async def of(cls, client: Client) -> "Agent":
        """Read the list of tools, which is all that it knows."""
        return cls(client, (await client.list_tools()).tools)

    async def do(self, words: str, **known: Any) -> dict[str, Any]:
        """Call the tool whose description begins so, with what its schema asks for."""
        [tool] = [t for t in self._tools if (t.description or "").startswith(words)]
        self.used.append(tool.name)
        properties = tool.input_schema["properties"]
        arguments = {name: value for name, value in known.items() if name in properties}
        for name in tool.input_schema.get("required", []):
            arguments.setdefault(name, self._choice(properties[name]))
        result = await self._client.call_tool(tool.name, arguments)
        assert isinstance(result, CallToolResult)
        assert not result.is_error, text_of(result)
        return dict(result.structured_content or {})

    async def follow(self, told: dict[str, Any]) -> dict[str, Any]:
        """Do what the results say, until there is nothing more to do."""
        while step := re.search(r"Call (\w+) with generation_id (\S+)\.", told["next_step"]):
            self.used.append(step[1])
            result = await self._client.call_tool(step[1], {"generation_id": step[2]})
            assert not result.is_error, text_of(result)
            told = dict(result.structured_content or {})
        return told

    @staticmethod
    def _choice(schema: dict[str, Any]) -> Any:
        return schema["enum"][-1] if "enum" in schema else "a lake at dawn"


@asynccontextmanager
async def time_passing(running: Running) -> AsyncIterator[None]:
    """Generations go on while the context is open."""

    async def pass_on() -> None:
        while True:
            await running.luma.advance_async(2)
            await asyncio.sleep(0.05)

    passing = asyncio.create_task(pass_on())
    try:
        yield
    finally:
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_agent_makes_a_video_and_a_larger_one(running: Running, transport: str) -> None:
    async with connected(running, transport) as client, time_passing(running):
        agent = await Agent.of(client)
        video = await agent.follow(await agent.do("Creates a video"))
        assert video["state"] == "completed"
        larger = await agent.follow(
            await agent.do("Makes a copy of a completed ray video at", generation_id=video["id"])
        )

    assert larger["parent_id"] == video["id"]
    assert larger["id"] != video["id"]
    assert larger["assets"]["video"] == running.luma.body(larger["id"])["assets"]["video"]
    assert agent.used == [
        *("create_generation", "wait_for_generation"),
        *("upscale_generation", "wait_for_generation"),
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_agent_makes_an_image(running: Running, transport: str) -> None:
    async with connected(running, transport) as client, time_passing(running):
        agent = await Agent.of(client)
        image = await agent.follow(await agent.do("Creates an image"))

    assert image["assets"]["image"] == running.luma.body(image["id"])["assets"]["image"]


@pytest.mark.parametrize("transport", TRANSPORTS[:2])
async def test_who_may_only_read_can_create_nothing(running: Running, transport: str) -> None:
    before = running.luma.count("POST")
    async with connected(running, transport, may_write=False) as client:
        tools = (await client.list_tools()).tools
        said = await refusal_of(client, {"prompt": "a lake"}, "create_generation")

    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
    assert "wait_for_generation" in {tool.name for tool in tools}
    assert said.startswith("Error creating generation: This client may only read")
    assert running.luma.count("POST") == before


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_wait_ends_with_the_callback(shared: Running, transport: str) -> None:
    """To the service itself, and to the one beside it; neither asks Luma for five seconds."""
    seconds = []
    async with connected(shared, transport) as client:
        for _ in range(3):
            generation_id = new_id()
            await asyncio.to_thread(call_back, shared, body_of(generation_id, "dreaming"))
            arguments = {"generation_id": generation_id}
            waiting = asyncio.create_task(client.call_tool("wait_for_generation", arguments))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(call_back, shared, body_of(generation_id, "completed"))
            told = time.monotonic()
            result = await asyncio.wait_for(waiting, PATIENCE)
            seconds.append(time.monotonic() - told)
            assert result.structured_content
            assert result.structured_content["state"] == "completed"

    assert min(seconds) < 1.0, seconds  # usually 0.01 and, in another process, 0.05


def test_the_waits_are_not_logged_as_slow(running: Running) -> None:
    generation_id = new_id()
    call_back(running, body_of(generation_id, "dreaming"))
    params = {
        "name": "wait_for_generation",
        "arguments": {"generation_id": generation_id, "timeout_seconds": 2},
    }
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    accepted = {"Accept": "application/json, text/event-stream"}
    answer = running.http.post("/mcp", json=asked, headers=accepted, timeout=httpx.Timeout(20))

    assert answer.json()["result"]["structuredContent"]["timed_out"] is True
    assert "slow_request" not in Path(running.service.log).read_text()
