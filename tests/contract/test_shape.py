"""One shape on every surface: REST, MCP over HTTP and stdio, and the command line."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from service.simulator import Fault, Plan
from tests.acceptance.conftest import Running, run_service
from tests.acceptance.talk import body_of, call_back, eventually, new_id, read, told
from tests.databases import age_missing

CONTRACT = {
    "id", "upstream", "state", "terminal", "generation_type", "operation", "model", "prompt",
    "created_at", "failure_reason", "failure_code", "assets", "request", "parent_id", "rev",
    "source", "verified", "gone_at", "first_seen_at", "updated_at", "finished_at",
}  # fmt: skip
KINDS = [
    *(("queued",), ("dreaming",), ("completed",), ("failed",)),
    *(("completed", "image"), ("completed", "upscale_video")),
]

TIMES = ("created_at", "first_seen_at", "updated_at", "finished_at", "gone_at")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, list[str]]]:
    """A service, and the ids of generations of every kind that there is.

    Luma confirms what was told of them, so that none changes while the tests look; but the
    first, which it does not know, is gone.
    """
    ample = {"TRACKER_DREAM_MACHINE_RATE": "1000/second", "TRACKER_AGENTS_RATE": "1000/second"}
    with run_service(tmp_path_factory.mktemp("kinds"), **ample) as running:
        made = [told(running, "queued", created_at=None, model=None, request=None)]
        age_missing(running.database, made[0], lambda: read(running, made[0], fresh=True))
        eventually(lambda: read(running, made[0], fresh=True)["gone_at"], "it is gone")
        made += [confirmed(running, *kind) for kind in KINDS]
        refused = Plan(outcome="failed", failure_code="content_moderated")
        made.append(running.luma.create("layering", upstream="agents"))
        made.append(running.luma.create("video", upstream="agents", plan=refused))
        running.luma.advance(60)
        for generation_id in made:
            read(running, generation_id)
        yield running, made


def confirmed(running: Running, state: str, operation: str = "video") -> str:
    """The id of a generation that was told of by callback, and that Luma says the same of."""
    body = body_of(new_id(), state, operation)
    generation_id = str(body["id"])
    running.luma.fault(Fault(body=json.dumps(body).encode(), path=generation_id, times=None))
    assert call_back(running, body).status_code == 200
    eventually(lambda: read(running, generation_id, fresh=True)["verified"], "it is confirmed")
    return generation_id


def by_rest(kinds: tuple[Running, list[str]]) -> dict[str, dict[str, Any]]:
    running, made = kinds
    return {each: read(running, each) for each in made}


def test_the_shape_is_that_of_the_contract(kinds: tuple[Running, list[str]]) -> None:
    shapes = list(by_rest(kinds).values())

    assert all(shape.keys() >= CONTRACT for shape in shapes)
    assert len({tuple(shape) for shape in shapes}) == 1, "the same keys in the same order"
    for shape in shapes:
        assert shape["upstream"] in ("dream_machine", "agents")
        assert isinstance(shape["rev"], int)
        assert isinstance(shape["verified"], bool)
        assert shape["terminal"] is (shape["state"] in ("completed", "failed"))
        assert shape["assets"].keys() >= {"video", "image", "progress_video"}
        assert shape["source"] in ("submit", "callback", "fetch", "reconcile", "backfill")
        for name in TIMES:
            stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
            assert shape[name] is None or re.fullmatch(stamp, shape[name]), name
    assert [shape["gone_at"] is not None for shape in shapes].count(True) == 1


def test_lists_carry_the_same_objects(kinds: tuple[Running, list[str]]) -> None:
    running, _ = kinds

    answer = running.http.get("/v1/generations", params={"limit": 200, "gone": True})

    assert {item["id"]: item for item in answer.json()["items"]} == by_rest(kinds)


@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_mcp_carries_the_same_objects(kinds: tuple[Running, list[str]], way: str) -> None:
    running, _ = kinds
    stdio = StdioServerParameters(
        command=sys.executable,
        args=["-m", "service", "mcp"],
        env=running.service.environment,
        cwd=running.service.folder,
    )
    expected = by_rest(kinds)
    async with Client(stdio if way == "stdio" else f"{running.service.url}/mcp") as client:
        got = {
            each: await client.call_tool("get_generation", {"generation_id": each})
            for each in expected
        }
        listed = await client.call_tool("list_generations", {"limit": 200})

    assert {each: result.structured_content for each, result in got.items()} == expected
    assert listed.structured_content
    not_gone = {each: shape for each, shape in expected.items() if shape["gone_at"] is None}
    assert {item["id"]: item for item in listed.structured_content["items"]} == not_gone
    assert len({tuple(result.structured_content or {}) for result in got.values()}) == 1


def test_the_command_line_prints_the_same_objects(kinds: tuple[Running, list[str]]) -> None:
    running, _ = kinds
    expected = by_rest(kinds)

    listed = json.loads(running.service.command("list", "--limit", "200", "--json").stdout)
    some = [next(iter(expected)), list(expected)[-1]]  # each costs a process
    got = {e: json.loads(running.service.command("get", e, "--json").stdout) for e in some}

    not_gone = {each: shape for each, shape in expected.items() if shape["gone_at"] is None}
    assert {item["id"]: item for item in listed["items"]} == not_gone
    assert got == {each: expected[each] for each in some}
    assert [tuple(shape) for shape in got.values()] == [tuple(expected[each]) for each in some]


def test_the_shape_is_the_one_that_is_documented(kinds: tuple[Running, list[str]]) -> None:
    running, made = kinds
    described = running.http.get("/openapi.json").json()["components"]["schemas"]
    [schema] = [s for s in described.values() if s.get("properties", {}).keys() >= CONTRACT]

    assert schema["properties"].keys() == read(running, made[0]).keys()
    assert set(schema["required"]) == schema["properties"].keys(), "no key is ever left out"
    assert schema["examples"][0].keys() == schema["properties"].keys()


def test_pages_have_one_shape_too(kinds: tuple[Running, list[str]]) -> None:
    running, made = kinds

    pages = [
        running.http.get(path).json()
        for path in (
            "/v1/generations",
            f"/v1/generations?model={new_id()}",
            f"/v1/generations/{made[0]}/events",
            "/v1/events",
            "/v1/events?after=now",
        )
    ]

    assert {tuple(page) for page in pages} == {("items", "next_cursor", "has_more")}
