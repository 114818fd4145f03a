"""Resources of the MCP server, and updates for those who subscribe to them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import TextResourceContents

import service as package
from service.luma import prices
from service.mcp_server import Service, make_server
from service.mcp_server.tools import TOOLS
from service.simulator import Fault, Luma
from service.tracking.callback_tokens import Grant
from tests.mcp_server.test_direct import HELLO, enveloped, message
from tests.mcp_server.test_stdio_transport import READY, Talk, by_ours, talking
from tests.mcp_server.test_waiting import PATIENCE, eventually, over_http, report

pytestmark = pytest.mark.either_database


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A connected client."""
    async with Client(make_server(service)) as connected:
        yield connected


def follows() -> bool:
    """Whether the server follows the changes."""
    return any(task.get_name() == "mcp-updates" for task in asyncio.all_tasks())


async def read(client: Client, uri: str) -> TextResourceContents:
    """The only content of a resource."""
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.uri == uri
    return content


async def test_a_generation_is_read_as_rest_shows_it(client: Client, service: Service) -> None:
    await report(service, "g", "completed")
    content = await read(client, "generation://g")
    assert content.mime_type == "application/json"
    answer = await service.tracker.lookup("g")
    assert content.text == answer.representation.body.decode()


async def test_the_video_is_a_link(client: Client, service: Service, luma: Luma) -> None:
    made = luma.create()
    with pytest.raises(MCPError, match=r"is queued\. Call wait_for_generation"):
        await client.read_resource(f"generation://{made}/video")
    body = {"id": "g", "state": "completed", "assets": {"video": "https://v.example/1.mp4"}}
    await service.tracker.deliveries.receive(json.dumps(body).encode(), Grant())
    content = await read(client, "generation://g/video")
    assert content.mime_type == "text/uri-list"
    assert content.text == "https://v.example/1.mp4"


async def test_what_can_be_read_is_listed(client: Client) -> None:
    listed = (await client.list_resources()).resources
    assert [each.uri for each in listed] == ["luma://guide", "ui://luma-tracker/generation"]
    templates = (await client.list_resource_templates()).resource_templates
    assert [each.uri_template for each in templates] == [
        "generation://{id}",
        "generation://{id}/video",
    ]


@pytest.mark.parametrize("uri", ["luma://other", "generation://", "generation://a/b", "http://x"])
async def test_what_there_is_not_is_an_error_that_says_what_there_is(
    client: Client, luma: Luma, uri: str
) -> None:
    with pytest.raises(MCPError, match="luma://guide"):
        await client.read_resource(uri)
    assert luma.requests == []


async def test_an_unknown_generation_is_an_error_that_says_what_to_do(
    client: Client, luma: Luma
) -> None:
    with pytest.raises(MCPError, match="Check the id"):
        await client.read_resource("generation://nobody")
    luma.fault(Fault(status=503, times=2))
    with pytest.raises(MCPError, match="Retry later"):
        await client.read_resource("generation://somebody")


async def test_the_guide_has_every_price_and_every_model(client: Client) -> None:
    guide = (await read(client, "luma://guide")).text
    file = Path(package.__file__).with_name("luma") / "prices.json"
    for price in _numbers(json.loads(file.read_text())):
        assert any(f"{price:.{digits}f}" in guide for digits in (2, 3, 4)), price
    for date in prices.DATES.values():
        assert date in guide
    for tool in ("create_generation", "generate_image"):
        schema = TOOLS[tool].definition.input_schema
        for model in schema["properties"]["model"]["enum"]:
            assert re.search(rf"^\| {re.escape(model)} \|", guide, re.MULTILINE), model


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    return [value] if isinstance(value, float) else []


async def test_a_listener_hears_of_its_generations_alone(service: Service) -> None:
    await report(service, "g", "queued")
    async with over_http(service) as url, Client(url) as client:
        async with client.listen(resource_subscriptions=["generation://g"]) as events:
            await report(service, "other", "dreaming")
            await report(service, "g", "dreaming")
            event = await asyncio.wait_for(anext(events), PATIENCE)
            assert getattr(event, "uri", None) == "generation://g"
            assert json.loads((await read(client, "generation://g")).text)["state"] == "dreaming"
            assert follows()
        await eventually(lambda: not follows())


async def test_a_listener_is_released_when_the_service_stops(service: Service) -> None:
    wanted = ["generation://g"]
    async with (
        over_http(service) as url,
        Client(url) as client,
        client.listen(resource_subscriptions=wanted) as events,
        asyncio.timeout(PATIENCE),
    ):
        service.tracker.stop_waiting()
        assert [event async for event in events] == []


async def test_capabilities_say_where_one_can_subscribe(service: Service) -> None:
    """A stateless server of the protocol of 2025 has no connection to send updates on."""
    async with over_http(service) as url, Client(url, mode="legacy") as old, Client(url) as new:
        assert old.server_capabilities.resources
        assert not old.server_capabilities.resources.subscribe
        assert new.server_capabilities.resources
        assert new.server_capabilities.resources.subscribe
        assert new.server_capabilities.prompts is None


async def updates(talk: Talk) -> list[str]:
    """The updated URIs, up to the response to a ping."""
    await talk.say(json.dumps(message("ping", {}, "end")).encode() + b"\n")
    heard: list[str] = []
    while (said := await talk.hear()).get("id") != "end":
        assert said["method"] == "notifications/resources/updated"
        heard.append(said["params"]["uri"])
    return heard


async def test_a_lasting_connection_of_2025_hears_of_what_it_subscribed_to(
    service: Service,
) -> None:
    await report(service, "g", "queued")
    async with talking(by_ours, service) as talk:
        started = await talk.ask(message("initialize", HELLO, 0))
        assert started["result"]["capabilities"]["resources"]["subscribe"] is True
        await talk.say(json.dumps(READY).encode() + b"\n")
        for uri in ("generation://g", "generation://h"):
            await talk.ask(message("resources/subscribe", {"uri": uri}))
        await report(service, "other", "dreaming")
        await report(service, "g", "dreaming")
        assert (await talk.hear())["params"]["uri"] == "generation://g"
        await talk.ask(message("resources/unsubscribe", {"uri": "generation://g"}))
        await report(service, "g", "completed")
        await report(service, "h", "completed")
        assert (await talk.hear())["params"]["uri"] == "generation://h"
        assert await updates(talk) == []
        talk.leave()


async def test_a_lasting_connection_of_2026_listens_until_it_cancels(service: Service) -> None:
    wanted = {"notifications": {"resourceSubscriptions": ["generation://g"]}}
    async with talking(by_ours, service) as talk:
        listen = enveloped(message("subscriptions/listen", wanted, "s"))
        acknowledged = await talk.ask(listen)
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        await report(service, "g", "dreaming")
        heard = await talk.hear()
        assert heard["params"]["uri"] == "generation://g"
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
        await talk.say(json.dumps({**cancel, "params": {"requestId": "s"}}).encode() + b"\n")
        await eventually(lambda: not follows())
        talk.leave()
