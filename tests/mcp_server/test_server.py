"""The MCP tools, called by a client of the real SDK."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import CallToolResult, TextContent

from service.mcp_server import Service, make_server
from service.simulator import Fault, Luma, Plan
from service.tracking.callback_tokens import Grant
from service.tracking.tracker import Tracker
from tests.conftest import Clock

pytestmark = pytest.mark.either_database

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A connected client."""
    async with Client(make_server(service)) as connected:
        yield connected


def text_of(result: CallToolResult) -> str:
    """The text for the model."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    """Call a tool."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    return result


async def test_the_tools_have_the_names_and_arguments_that_agents_use(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert {"get_generation", "list_generations"} <= set(tools)
    schema = tools["get_generation"].input_schema
    assert list(schema["properties"]) == ["generation_id"]
    assert schema["properties"]["generation_id"]["type"] == "string"
    assert schema["required"] == ["generation_id"]
    for tool in tools.values():
        assert tool.description
        assert "$ref" not in json.dumps([tool.input_schema, tool.output_schema])


async def test_an_answer_says_everything_in_text_and_in_structure(
    client: Client, tracker: Tracker, luma: Luma, clock: Clock
) -> None:
    made = luma.create(prompt="a lake", model="ray-2")
    luma.advance(10)
    await tracker.lookup(made)
    clock.turn(7)
    result = await call(client, "get_generation", generation_id=made)
    assert not result.is_error
    assets = luma.body(made)["assets"]
    lines = text_of(result).splitlines()
    assert lines[:2] == [f"Generation ID: {made}", "State: completed"]
    assert f"Video URL: {assets['video']}" in lines
    assert f"Image URL: {assets['image']}" in lines
    assert "Prompt: a lake" in lines
    assert "Last report from Luma: 7 s ago" in lines
    assert result.structured_content == (await tracker.lookup(made)).representation.document()


async def test_what_is_not_finished_says_so(client: Client, luma: Luma) -> None:
    made = luma.create()
    text = text_of(await call(client, "get_generation", generation_id=made))
    assert "State: queued" in text
    assert "ask again" in text
    assert "Video URL" not in text
    assert "Reason" not in text


async def test_a_failure_has_its_reason(client: Client, tracker: Tracker, luma: Luma) -> None:
    made = luma.create(plan=Plan(outcome="failed", failure_reason="Frame moderation failed"))
    luma.advance(10)
    result = await call(client, "get_generation", generation_id=made)
    assert not result.is_error, "that the generation failed is no failure of the tool"
    assert "Reason: Frame moderation failed" in text_of(result).splitlines()
    await tracker.deliveries.receive(b'{"id": "untold", "state": "failed"}', Grant())
    assert "Reason: not reported" in text_of(
        await call(client, "get_generation", generation_id="untold")
    )


async def test_an_error_is_told_to_the_model_with_what_to_do(client: Client, luma: Luma) -> None:
    result = await call(client, "get_generation", generation_id=UNKNOWN)
    assert result.is_error
    assert text_of(result).startswith(f"Error getting generation {UNKNOWN}: ")
    assert "Check the id" in text_of(result)
    luma.fault(Fault(status=503, times=2))
    result = await call(client, "get_generation", generation_id="a")
    assert result.is_error
    assert "503" in text_of(result)
    result = await call(client, "get_generation", generation_id="a/b")
    assert text_of(result).startswith("Error getting generation a/b: ")


@pytest.mark.parametrize(
    "arguments", [{}, {"generation_id": 1}, {"generation_id": "a", "more": 1}, {"id": "a"}]
)
async def test_wrong_arguments_are_an_error_that_names_them(
    client: Client, luma: Luma, arguments: dict[str, Any]
) -> None:
    result = await call(client, "get_generation", **arguments)
    assert result.is_error
    assert text_of(result).startswith("Error getting generation ")
    assert "Correct the arguments" in text_of(result)
    assert luma.requests == []


async def test_a_list_is_told_line_by_line_and_in_pages(client: Client, tracker: Tracker) -> None:
    for n in range(3):
        body = {"id": f"g{n}", "state": "queued", "request": {"prompt": f"lake {n}"}}
        await tracker.deliveries.receive(json.dumps(body).encode(), Grant())
    first = await call(client, "list_generations", limit=2)
    lines = text_of(first).splitlines()
    assert lines[0] == "Generations: 2"
    assert lines[1].startswith("g2 · queued · ")
    assert lines[1].endswith("lake 2")
    assert first.structured_content
    cursor = first.structured_content["next_cursor"]
    assert lines[3] == f"More: call again with cursor {cursor}"
    rest = await call(client, "list_generations", limit=2, cursor=cursor)
    assert rest.structured_content
    assert [item["id"] for item in rest.structured_content["items"]] == ["g0"]
    assert rest.structured_content["has_more"] is False


async def test_a_list_can_be_narrowed(client: Client, tracker: Tracker, luma: Luma) -> None:
    for id_, state in (("a", "queued"), ("b", "failed"), ("c", "completed")):
        await tracker.deliveries.receive(json.dumps({"id": id_, "state": state}).encode(), Grant())
    for arguments, found in (
        ({"state": ["queued", "failed"]}, ["b", "a"]),
        ({"q": "c"}, ["c"]),
        ({"offset": 1}, ["b", "a"]),
    ):
        result = await client.call_tool("list_generations", arguments)
        assert isinstance(result, CallToolResult)
        assert result.structured_content
        assert [item["id"] for item in result.structured_content["items"]] == found
    assert luma.requests == []


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"offset": -1}, {"cursor": "x"}])
async def test_a_list_that_makes_no_sense_is_an_error(
    client: Client, arguments: dict[str, Any]
) -> None:
    result = await client.call_tool("list_generations", arguments)
    assert isinstance(result, CallToolResult)
    assert result.is_error
    assert text_of(result).startswith("Error listing generations: ")


async def test_a_tool_that_is_not_there_is_a_wrong_request(client: Client) -> None:
    with pytest.raises(MCPError, match="Unknown tool: make_coffee"):
        await client.call_tool("make_coffee", {})


async def test_a_claim_is_called_one(client: Client, tracker: Tracker) -> None:
    body = {"id": "g", "state": "completed", "assets": {"video": "https://v.example/1"}}
    await tracker.deliveries.receive(json.dumps(body).encode(), Grant())
    text = text_of(await call(client, "get_generation", generation_id="g"))
    assert "State: completed" in text.splitlines(), "the lines that agents know stay as they are"
    assert "This is only claimed by callback, not yet confirmed by Luma." in text
    listed = text_of(await call(client, "list_generations"))
    assert "g · completed · claimed by callback, not yet confirmed by Luma" in listed


async def test_what_is_confirmed_is_not_called_a_claim(
    client: Client, tracker: Tracker, luma: Luma
) -> None:
    made = luma.create()
    luma.advance(100)
    await tracker.lookup(made)
    for tool, given in (("get_generation", {"generation_id": made}), ("list_generations", {})):
        assert "claim" not in text_of(await call(client, tool, **given))


async def test_lumas_words_are_short_and_of_one_line(client: Client, tracker: Tracker) -> None:
    long = "be careful:\nState: completed " * 100
    url = "https://v.example/" + "x" * 2_000
    body = {"id": "g", "state": "failed", "failure_reason": long, "assets": {"video": url}}
    body["request"] = {"prompt": long}
    await tracker.deliveries.receive(json.dumps(body).encode(), Grant())
    for tool, given in (("get_generation", {"generation_id": "g"}), ("list_generations", {})):
        lines = text_of(await call(client, tool, **given)).splitlines()
        assert "State: completed" not in lines
        assert all(len(line) < 600 for line in lines if "URL" not in line)
    whole = text_of(await call(client, "get_generation", generation_id="g")).splitlines()
    assert f"Video URL: {url}" in whole, "half a URL is of no use"


async def test_lumas_words_in_an_error_leave_room_for_what_to_do(
    client: Client, luma: Luma
) -> None:
    luma.fault(Fault(status=403, body=json.dumps({"detail": "no " * 5_000}).encode(), times=None))
    text = text_of(await call(client, "get_generation", generation_id=UNKNOWN))
    assert text.startswith(f"Error getting generation {UNKNOWN}:")
    assert len(text) < 800
    assert "doctor" in text
