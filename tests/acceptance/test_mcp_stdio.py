"""MCP over stdio: a process of its own beside the service, on the same store."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from service.simulator import Fault, Luma
from tests.acceptance.conftest import Running, environment_for
from tests.acceptance.talk import (
    body_of,
    call_back,
    events,
    lines_of,
    new_id,
    read,
    refusal_of,
    rows,
    text_of,
    told,
)
from tests.launching import run

pytestmark = pytest.mark.either_database

BOTH = pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.thorough)])


def launch(environment: dict[str, str], folder: Path, mode: str = "auto") -> Client:
    """A client with a server process of its own, both to be entered."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "service", "mcp"], env=environment, cwd=folder
    )
    return Client(server, mode=mode)


def beside(running: Running, mode: str = "auto") -> Client:
    """The same, on the store of a running service."""
    return launch(running.service.environment, running.service.folder, mode)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def agents(anyio_backend: str, shared: Running) -> AsyncIterator[Mapping[str, Client]]:
    """Mode -> a client with a process beside the shared service, for tests to share."""
    async with beside(shared, "legacy") as legacy, beside(shared, "auto") as auto:
        yield {"legacy": legacy, "auto": auto}


@pytest.fixture
def agent(agents: Mapping[str, Client]) -> Client:
    """One of them."""
    return agents["auto"]


def run_raw(
    environment: dict[str, str], folder: Path, said: str
) -> subprocess.CompletedProcess[str]:
    """The server, told exactly this and then left."""
    ours, theirs = os.pipe()
    with open(theirs, "wb") as telling:  # noqa: PTH123 - a descriptor
        telling.write(said.encode())
    with open(ours, "rb") as stdin:  # noqa: PTH123
        return run(["mcp"], environment=environment, folder=folder, stdin=stdin)


@BOTH
async def test_it_answers_as_the_service_does(shared: Running, mode: str) -> None:
    video, picture = told(shared), told(shared, "completed", "image")
    dreaming = told(shared, "dreaming")
    failed = told(shared, "failed", failure_reason="Frame moderation failed")
    async with beside(shared, mode) as client:
        async with Client(f"{shared.service.url}/mcp", mode=mode) as over_http:
            tools, others = await client.list_tools(), await over_http.list_tools()
        results = {
            each: await client.call_tool("get_generation", {"generation_id": each})
            for each in (video, picture, dreaming, failed)
        }
        listed = await client.call_tool("list_generations", {"limit": 50})

    assert tools.tools == others.tools
    for generation_id, result in results.items():
        shown = read(shared, generation_id)
        assert result.structured_content == shown
        assert lines_of(result)["Generation ID"] == generation_id
        assert lines_of(result)["State"] == shown["state"]
        assert lines_of(result).get("Video URL") == shown["assets"]["video"]
        assert lines_of(result).get("Image URL") == shown["assets"]["image"]
    assert lines_of(results[failed])["Reason"] == "Frame moderation failed"
    assert listed.structured_content
    assert listed.structured_content.keys() == shared.http.get("/v1/generations").json().keys()


@BOTH
async def test_its_errors_say_what_to_do(agents: Mapping[str, Client], mode: str) -> None:
    unknown = new_id()
    said = await refusal_of(agents[mode], {"generation_id": unknown})
    impossible = await refusal_of(agents[mode], {"generation_id": "a b"})
    nothing = await refusal_of(agents[mode], {})

    assert said.startswith(f"Error getting generation {unknown}: ")
    assert "Check the id" in said
    assert impossible.startswith("Error getting generation a b: ")
    assert nothing.startswith("Error getting generation")


async def test_what_one_of_them_hears_the_other_knows(shared: Running, agent: Client) -> None:
    fetched = shared.luma.create()
    by_stdio = await agent.call_tool("get_generation", {"generation_id": fetched})
    called = told(shared, "dreaming")
    by_callback = await agent.call_tool("get_generation", {"generation_id": called})

    assert by_stdio.structured_content == read(shared, fetched)
    assert lines_of(by_callback)["State"] == "dreaming"
    assert shared.luma.count("GET", f"/dream-machine/v1/generations/{fetched}") == 1
    assert by_callback.structured_content


async def test_both_can_write_at_the_same_time(shared: Running, agent: Client) -> None:
    fetched = [shared.luma.create() for _ in range(30)]
    called = [new_id() for _ in range(30)]
    assert shared.callback_url
    results, answers = await asyncio.gather(
        asyncio.gather(
            *(agent.call_tool("get_generation", {"generation_id": each}) for each in fetched)
        ),
        asyncio.gather(
            *(
                asyncio.to_thread(call_back, shared, body_of(each, state))
                for each in called
                for state in ("dreaming", "completed")
            )
        ),
    )

    assert not [text_of(result) for result in results if result.is_error]
    assert {answer.status_code for answer in answers} == {200}
    kept = {row[0] for row in rows(shared.database, "SELECT id FROM generations")}
    assert kept >= {*fetched, *called}
    for generation_id in called:
        assert read(shared, generation_id)["state"] == "completed"
        history = events(shared, generation_id)
        assert [event["rev"] for event in history] == list(range(1, len(history) + 1))


async def test_both_can_write_to_the_same_generation(shared: Running, agent: Client) -> None:
    made = [shared.luma.create(callback_url=shared.callback_url) for _ in range(10)]
    results, _ = await asyncio.gather(
        asyncio.gather(
            *(agent.call_tool("get_generation", {"generation_id": each}) for each in made)
        ),
        shared.luma.advance_async(60),
    )

    assert not [text_of(result) for result in results if result.is_error]
    attempts = [a for a in shared.luma.attempts if a.generation_id in made]
    assert {attempt.status for attempt in attempts} == {200}
    for generation_id in made:
        assert read(shared, generation_id)["state"] == "completed"
        history = events(shared, generation_id)
        assert [event["rev"] for event in history] == list(range(1, len(history) + 1))


def _messages(*methods: tuple[str, dict[str, Any]]) -> str:
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    calls = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": given}
        for number, (method, given) in enumerate(methods, 1)
    ]
    return "".join(json.dumps(message) + "\n" for message in (first, ready, *calls))


def test_nothing_but_the_protocol_is_on_stdout_and_it_ends_with_its_client(
    tmp_path: Path, luma: Luma
) -> None:
    """On a database that is not there yet, so that it has something to tell: on stderr."""
    known = luma.create()
    said = _messages(
        ("tools/list", {}),
        ("tools/call", {"name": "get_generation", "arguments": {"generation_id": known}}),
        ("tools/call", {"name": "get_generation", "arguments": {"generation_id": new_id()}}),
        ("tools/call", {"name": "no_such_tool", "arguments": {}}),
    )

    done = run_raw(environment_for(tmp_path, luma), tmp_path, said)

    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert {message["jsonrpc"] for message in messages} == {"2.0"}
    assert {message["id"] for message in messages} <= set(range(5))
    assert messages[0]["result"]["serverInfo"]["name"] == "luma-tracker"
    assert "database_created" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_line_that_is_not_mcp_does_not_end_it(tmp_path: Path, luma: Luma) -> None:
    first, *rest = _messages(("tools/list", {})).splitlines(keepends=True)
    said = "".join([first, "nonsense\n", "{}\n", "\n", *rest])

    done = run_raw(environment_for(tmp_path, luma), tmp_path, said)

    answered = [json.loads(line) for line in done.stdout.splitlines()]
    assert 0 in [message.get("id") for message in answered]
    assert all(message["jsonrpc"] == "2.0" for message in answered)


def test_a_wrong_setting_is_one_line_on_stderr(tmp_path: Path, luma: Luma) -> None:
    environment = environment_for(tmp_path, luma, TRACKER_STALE_AFTER="soon")

    done = run_raw(environment, tmp_path, "")

    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "TRACKER_STALE_AFTER" in line


@BOTH
async def test_who_gives_up_on_a_call_can_make_another(shared: Running, mode: str) -> None:
    slow, known = shared.luma.create(), told(shared)
    path = f"/dream-machine/v1/generations/{slow}"
    shared.luma.fault(Fault(delay=2.0, path=path))
    async with beside(shared, mode) as client:
        with anyio.move_on_after(0.3) as gave_up:
            await client.call_tool("get_generation", {"generation_id": slow})
        result = await client.call_tool("get_generation", {"generation_id": known})

    assert gave_up.cancelled_caught
    assert result.structured_content == read(shared, known)


async def test_it_answers_many_questions_at_once(shared: Running, agent: Client) -> None:
    known = [told(shared) for _ in range(5)] * 20
    results = await asyncio.gather(
        *(agent.call_tool("get_generation", {"generation_id": each}) for each in known)
    )

    for generation_id, result in zip(known, results, strict=True):
        assert lines_of(result)["Generation ID"] == generation_id


@BOTH
async def test_large_questions_and_answers_come_whole(
    shared: Running, agents: Mapping[str, Client], mode: str
) -> None:
    word = f"w{new_id()[:8]}"
    long = f"{word} {'ä' * 9_000}"
    for _ in range(60):
        told(shared, request={"prompt": long})
    result = await agents[mode].call_tool("list_generations", {"q": word, "limit": 200})
    said = await refusal_of(agents[mode], {"generation_id": "x" * 1_000_000})

    assert result.structured_content
    assert [item["prompt"] for item in result.structured_content["items"]] == [long] * 60
    assert said.startswith("Error getting generation xxx")


def test_it_answers_what_comes_from_a_file(tmp_path: Path, luma: Luma) -> None:
    (tmp_path / "said").write_text(_messages(("tools/list", {})))
    with (tmp_path / "said").open("rb") as stdin:
        done = run(
            ["mcp"], environment=environment_for(tmp_path, luma), folder=tmp_path, stdin=stdin
        )

    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout.splitlines()[0])
    assert first["result"]["serverInfo"]["name"] == "luma-tracker"
