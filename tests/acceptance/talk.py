"""What tests say to the service, what Luma would say, and how answers are checked."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from mcp import Client
from mcp_types import CallToolResult, TextContent

from tests.acceptance.conftest import Running
from tests.conftest import PAYLOADS
from tests.databases import execute

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds in which whatever should happen has happened, even on a busy machine."""


def new_id() -> str:
    """An id as Luma gives them."""
    return str(uuid4())


def body_of(
    generation_id: str, state: str = "completed", operation: str = "video", /, **given: Any
) -> dict[str, Any]:
    """What Luma says of a generation in that state; `given` takes the place of its fields."""
    return {**PAYLOADS[f"CONSTRUCTED_{operation}_{state}"], "id": generation_id, **given}


def call_back(running: Running, body: object, **headers: str) -> httpx.Response:
    """POST a callback as Luma does: bytes as they stand, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", **headers}
    return running.http.post(running.callback_url, content=content, headers=sent)


def told(
    running: Running, state: str = "completed", operation: str = "video", /, **given: Any
) -> str:
    """The id of a generation that Luma has told the service of, by a callback."""
    body = body_of(new_id(), state, operation, **given)
    answer = call_back(running, body)
    assert answer.status_code == 200, answer.text
    return str(body["id"])


def read(running: Running, generation_id: str, /, **parameters: Any) -> dict[str, Any]:
    """The generation as REST shows it."""
    answer = running.http.get(f"/v1/generations/{generation_id}", params=parameters)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def events(running: Running, generation_id: str) -> list[dict[str, Any]]:
    """Its history."""
    answer = running.http.get(f"/v1/generations/{generation_id}/events")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def problem_in(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that an answer must be, by RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    for key in ("type", "title", "detail"):
        assert isinstance(problem[key], str), problem
        assert problem[key], problem
    return problem


def rows(database: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What the database itself holds, read past our own code."""
    return [*execute(database, statement, *values)]


def eventually(look: Callable[[], T], what: str, within: float = PATIENCE) -> T:
    """The first true answer of `look`, asked again and again until then."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)
    return answer


def ids(items: Iterable[dict[str, Any]]) -> list[str]:
    """The ids of listed generations, in their order."""
    return [item["id"] for item in items]


def text_of(result: CallToolResult) -> str:
    """What an MCP tool says to those who read only the text."""
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


def lines_of(result: CallToolResult) -> dict[str, str]:
    """The `Name: value` lines of that text."""
    assert not result.is_error, text_of(result)
    pairs = (line.partition(": ") for line in text_of(result).splitlines())
    return {name: value for name, colon, value in pairs if colon}


async def refusal_of(
    client: Client, arguments: dict[str, Any] | None, tool: str = "get_generation"
) -> str:
    """The text of the error that a tool must answer with."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is None
    return text_of(result)
