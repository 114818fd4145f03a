"""`DirectRequests` sends the same bytes as the SDK's transport."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Message, Scope

from service.bootstrap import open_parts
from service.config import Settings
from service.mcp_server import HttpTransport, Service, make_server
from service.mcp_server.direct import DirectRequests
from service.mcp_server.tools import TOOLS
from service.simulator import Luma
from service.tracking.callback_tokens import Grant
from service.web.mcp import McpEndpoint
from service.web.security_headers import SecurityHeaders
from service.web.server.limits import MAX_BODY
from tests.conftest import Clock
from tests.mcp_server.conftest import service_of

pytestmark = pytest.mark.either_database

Headers = list[tuple[str, str]]
Question = tuple[str, Headers, bytes]
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

OLD, NEW = "2025-11-25", "2026-07-28"
BOTH = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def get(arguments: object, **more: Any) -> dict[str, Any]:
    """The parameters of a lookup."""
    return {"name": "get_generation", "arguments": arguments, **more}


def wait(arguments: object, **more: Any) -> dict[str, Any]:
    """The parameters of a wait."""
    return {"name": "wait_for_generation", "arguments": arguments, **more}


CALLS: list[tuple[str, Any]] = [
    ("tools/call", get({"generation_id": "done"})),
    ("tools/call", get({"generation_id": "märchen"})),
    ("tools/call", get({"generation_id": "dreaming"})),
    ("tools/call", get({"generation_id": "nobody"})),
    ("tools/call", get({"generation_id": 1})),
    ("tools/call", get({"generation_id": "done", "more": 1})),
    ("tools/call", get({})),
    ("tools/call", get(None)),
    ("tools/call", get([])),
    ("tools/call", get("done")),
    ("tools/call", get({"generation_id": "done"}, _meta={"progressToken": 7})),
    ("tools/call", get({"generation_id": "done"}, _meta={"progressToken": "a", "b": [None]})),
    ("tools/call", get({"generation_id": "done"}, _meta={"progressToken": True})),
    ("tools/call", get({"generation_id": "done"}, _meta=None)),
    ("tools/call", get({"generation_id": "done"}, _meta="x")),
    ("tools/call", get({"generation_id": "done"}, unknown=None)),
    ("tools/call", {"name": "get_generation"}),
    ("tools/call", {"name": "list_generations", "arguments": {"limit": 2}}),
    ("tools/call", {"name": "list_generations", "arguments": {"limit": 0}}),
    ("tools/call", {"name": "list_generations"}),
    ("tools/call", wait({"generation_id": "done"})),
    ("tools/call", wait({"generation_id": "done"}, _meta={"progressToken": 7})),
    ("tools/call", wait({"generation_id": "done", "timeout_seconds": 0})),
    ("tools/call", wait({"generation_id": "a b"})),
    ("tools/call", wait([])),
    ("tools/call", wait(None)),
    ("tools/call", {"name": "create_generation", "arguments": {"prompt": "x"}}),
    ("tools/call", {"name": "create_generation"}),
    ("tools/call", {"name": "generate_image", "arguments": {"prompt": 1}}),
    ("tools/call", {"name": "upscale_generation", "arguments": {"generation_id": "done"}}),
    ("tools/call", {"name": "add_audio", "arguments": {"generation_id": "failed", "prompt": "x"}}),
    ("tools/call", {"name": "delete_generation", "arguments": {"generation_id": "/"}}),
    ("tools/call", {"name": "ping", "arguments": {"x": 1}}),
    ("resources/read", {"uri": "luma://guide"}),
    ("resources/read", {"uri": "generation://done"}),
    ("resources/read", {"uri": "generation://failed/video"}),
    ("resources/templates/list", {}),
    ("tools/call", {"name": "make_coffee", "arguments": {}}),
    ("tools/call", {"name": 1}),
    ("tools/call", {"name": None, "arguments": {}}),
    ("tools/call", {"arguments": {}}),
    ("tools/call", {}),
    ("tools/call", None),
    ("tools/call", []),
    ("tools/list", None),
    ("tools/list", {}),
    ("tools/list", {"cursor": "x"}),
    ("tools/list", {"cursor": 1}),
    ("ping", None),
    ("ping", {}),
    ("initialize", HELLO),
    ("initialize", {**HELLO, "protocolVersion": "1999-01-01"}),
    ("initialize", {**HELLO, "protocolVersion": NEW}),
    ("initialize", {"protocolVersion": "2025-06-18"}),
    ("initialize", None),
    ("server/discover", {}),
    ("server/discover", None),
    ("resources/list", {}),
    ("prompts/get", {"name": "x"}),
    ("logging/setLevel", {"level": "info"}),
    ("completion/complete", {}),
    ("subscriptions/listen", None),
    ("no/such", {}),
    ("notifications/initialized", None),
]
ACCOUNT: list[tuple[str, Any]] = [
    ("tools/call", {"name": name, "arguments": {}})
    for name in ("ping", "get_credits", "get_camera_motions")
]
"""What Luma is asked for."""
IDS = [0, 7, -1, 2**70, "a", "", "ä", None, 1.0, 1.5, True, [], {}]
MESSAGES: list[object] = [
    *({"jsonrpc": "2.0", "id": id_, "method": "ping"} for id_ in IDS),
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
    {"jsonrpc": "2.0", "method": "ping"},
    {"jsonrpc": "2.0", "id": 1, "method": "ping", "more": 1},
    {"jsonrpc": "2.0", "id": 1, "method": "ping", "result": {}},
    {"jsonrpc": "1.0", "id": 1, "method": "ping"},
    {"id": 1, "method": "ping"},
    {"jsonrpc": "2.0", "id": 1},
    {"jsonrpc": "2.0", "id": 1, "method": 5},
    {"jsonrpc": "2.0", "id": 1, "method": ["ping"]},
    {"jsonrpc": "2.0", "id": 1, "method": None},
    {"jsonrpc": "2.0", "id": 1, "result": {}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}},
    [],
    [{"jsonrpc": "2.0", "id": 1, "method": "ping"}],
    {},
    None,
    1,
    "ping",
]
PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": ENVELOPE}})
BODIES = [
    b"",
    b"nonsense",
    b"{",
    b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}}',
    b'{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": NaN}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": 1e999}}',
    b'{"jsonrpc": "2.0", "id": 1' + b"0" * 5000 + b', "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": "\xff", "method": "ping"}',
    b"\xef\xbb\xbf" + PING.encode(),
    PING.encode("utf-16"),
    f" \r\n{PING}\n ".encode(),
    b"[" * 100_000,
    PING.replace('"id"', f'"params": {"[" * 3000 + "]" * 3000}, "id"').encode(),
    b" " * MAX_BODY + PING.encode(),
    PING.encode() + b" " * (MAX_BODY - len(PING)),
]
ODD: list[dict[str, str | None]] = [
    {"Accept": None},
    {"Accept": "application/json"},
    {"Accept": "application/json;q=0.5"},
    {"Accept": "APPLICATION/JSON"},
    {"Accept": "application/*"},
    {"Accept": "*/*"},
    {"Accept": "*/*;q=0.1"},
    {"Accept": "text/html"},
    {"Accept": "text/event-stream"},
    {"Accept": "application/jsonp, text/event-stream"},
    {"Accept": ""},
    {"Accept": " application/json\t,text/event-stream "},
    {"Content-Type": None},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "application/json ;charset=utf-8"},
    {"Content-Type": "Application/JSON"},
    {"Content-Type": "application/jsonx"},
    {"Content-Type": "application/json, text/plain"},
    {"Content-Type": "application/json \t"},
    {"MCP-Protocol-Version": ""},
    {"MCP-Protocol-Version": "2024-11-05"},
    {"MCP-Protocol-Version": "2025-03-26"},
    {"MCP-Protocol-Version": "1999-01-01"},
    {"MCP-Protocol-Version": "2027-01-01"},
    {"MCP-Protocol-Version": "ä"},
    {"MCP-Protocol-Version": f"{OLD}  "},
    {"MCP-Protocol-Version": f"{NEW}  "},
    {"Mcp-Method": None},
    {"Mcp-Method": "tools/list"},
    {"Mcp-Method": "tools/call \t"},
    {"Mcp-Name": None},
    {"Mcp-Name": "list_generations"},
    {"Mcp-Name": "get_generation  "},
    {"Mcp-Name": "=?base64?Z2V0X2dlbmVyYXRpb24=?="},
    {"Mcp-Name": "=?base64?nonsense?="},
    {"Mcp-Param-Id": "done"},
    {"Mcp-Session-Id": "a-session"},
    {"Last-Event-ID": "1"},
]
TWICE = [
    "Accept",
    "Content-Type",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Cookie",
]
ENVELOPES: list[object] = [
    {},
    {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": OLD},
    {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": None},
    {**ENVELOPE, "io.modelcontextprotocol/clientInfo": "nobody"},
    {**ENVELOPE, "io.modelcontextprotocol/clientInfo": None},
    {**ENVELOPE, "io.modelcontextprotocol/clientCapabilities": []},
    {**ENVELOPE, "io.modelcontextprotocol/logLevel": "info"},
    {**ENVELOPE, "io.modelcontextprotocol/logLevel": "loud"},
    {key: value for key, value in ENVELOPE.items() if not key.endswith("clientInfo")},
    {key: value for key, value in ENVELOPE.items() if not key.endswith("clientCapabilities")},
]


def message(method: str, params: object, id_: object = 7) -> dict[str, Any]:
    """A request; `None` for no parameters."""
    more = {} if params is None else {"params": params}
    return {"jsonrpc": "2.0", "id": id_, "method": method, **more}


def enveloped(asked: dict[str, Any]) -> dict[str, Any]:
    """The same for the version of 2026."""
    params = asked.get("params") or {}
    if not isinstance(params, dict):
        return asked
    meta = params.get("_meta")
    more = meta if isinstance(meta, dict) else {}
    return {**asked, "params": {**params, "_meta": {**ENVELOPE, **more}}}


def headers_for(version: str | None, asked: object = None, **odd: str | None) -> Headers:
    """The headers of a client."""
    headers: dict[str, str | None] = {**BOTH, "MCP-Protocol-Version": version}
    if version == NEW and isinstance(asked, dict):
        headers["Mcp-Method"] = str(asked.get("method"))
        name = (asked.get("params") or {}) if isinstance(asked.get("params"), dict) else {}
        headers["Mcp-Name"] = str(name["name"]) if "name" in name else None
    headers.update(odd)
    return [(name, value) for name, value in headers.items() if value is not None]


def of_old(bodies: Iterable[object]) -> Iterator[Question]:
    """In the version of 2025, with and without the version header."""
    for body in bodies:
        for version in (None, OLD):
            yield "POST", headers_for(version), json.dumps(body).encode()


def of_new(bodies: Iterable[Any]) -> Iterator[Question]:
    """In the version of 2026, with metadata and without."""
    for body in bodies:
        yield "POST", headers_for(NEW, body), json.dumps(body).encode()
        if isinstance(body, dict):
            yield "POST", headers_for(NEW, body), json.dumps(enveloped(body)).encode()


def oddly() -> Iterator[Question]:
    """A plain lookup with unusual headers."""
    asked = message("tools/call", get({"generation_id": "done"}))
    for version, body in ((OLD, asked), (NEW, enveloped(asked))):
        content = json.dumps(body).encode()
        for odd in ODD:
            yield "POST", headers_for(version, body, **odd), content
        for name in TWICE:
            yield "POST", [*headers_for(version, body), (name, OLD)], content
        for method in ("GET", "DELETE", "PUT", "OPTIONS"):
            yield method, headers_for(version, body), content
    for envelope in ENVELOPES:
        body = message("tools/call", get({"generation_id": "done"}, _meta=envelope))
        for version in (OLD, NEW):
            yield "POST", headers_for(version, body), json.dumps(body).encode()


def crooked() -> Iterator[Question]:
    """Bodies that are barely JSON, or too much of it."""
    for body in BODIES:
        for version in (OLD, NEW):
            asked = {"method": "ping"}
            yield "POST", headers_for(version, asked), body


@asynccontextmanager
async def opened(service: Service, *, fast: bool) -> AsyncIterator[httpx.AsyncClient]:
    """MCP over HTTP, with or without `DirectRequests`."""
    app = Starlette()
    app.add_middleware(McpEndpoint, state=app.state)
    app.add_middleware(SecurityHeaders)
    app.state.mcp = HttpTransport(service, fast=fast)
    async with app.state.mcp.run():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            http.headers.clear()
            yield http


async def answer(http: httpx.AsyncClient, question: Question) -> Answer:
    """Everything that a client receives."""
    method, headers, content = question
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    got = await http.request(method, "/mcp", headers=sent, content=content)
    return got.status_code, got.headers.raw, got.content


@pytest.fixture
async def known(service: Service) -> Service:
    """A service with rows, some of them odd."""
    for body in (
        {"id": "done", "state": "completed", "assets": {"video": "https://v.example/v.mp4"}},
        {"id": "dreaming", "state": "dreaming", "request": {"prompt": "ein Märchen\n\x07 😀"}},
        {"id": "failed", "state": "failed", "request": {"seed": 2**63, "cfg": 1.5, "x": [None]}},
    ):
        await service.tracker.deliveries.receive(json.dumps(body).encode(), Grant())
    return service


@pytest.mark.parametrize(
    "questions",
    [
        [*of_old(message(*call) for call in CALLS)],
        [*of_new(message(*call) for call in CALLS)],
        [*of_old(message(*call) for call in ACCOUNT)],
        [*of_new(message(*call) for call in ACCOUNT)],
        [*of_old(MESSAGES)],
        [*of_new(MESSAGES)],
        [*oddly()],
        [*crooked()],
    ],
    ids=[
        "calls-2025",
        "calls-2026",
        "account-2025",
        "account-2026",
        "messages-2025",
        "messages-2026",
        "headers",
        "bodies",
    ],
)
async def test_both_ways_answer_alike(known: Service, questions: list[Question]) -> None:
    async with opened(known, fast=True) as fast, opened(known, fast=False) as sdk:
        for question in questions:
            theirs = await answer(sdk, question)
            assert await answer(fast, question) == theirs, (question[1], question[2][:300])


@pytest.mark.sqlite
@pytest.mark.parametrize("version", [OLD, NEW])
async def test_what_nobody_foresaw_is_told_alike(
    settings: Settings, clock: Clock, luma: Luma, version: str
) -> None:
    """A closed tracker raises an exception that no tool expects."""
    async with open_parts(settings, clock) as parts:
        closed = service_of(parts)
    asked = message("tools/call", get({"generation_id": "done"}))
    [question] = [*(of_old if version == OLD else of_new)([asked])][1:]
    async with opened(closed, fast=True) as fast, opened(closed, fast=False) as sdk:
        told = await answer(fast, question)
        assert told == await answer(sdk, question)
    assert "error" in json.loads(told[2])


@pytest.mark.parametrize("version", [None, *("2025-03-26", "2025-06-18", OLD), NEW])
@pytest.mark.parametrize("method", ["tools/call", "tools/list", "ping", "server/discover"])
async def test_what_agents_ask_is_ordinary(
    known: Service, method: str, version: str | None
) -> None:
    params = get({"generation_id": "done"}) if method == "tools/call" else {}
    asked = message(method, params)
    body = json.dumps(enveloped(asked) if version == NEW else asked).encode()
    assert await DirectRequests(make_server(known)).answer(
        _scope(headers_for(version, asked)), body, _stays
    )


async def test_what_is_not_is_left_to_the_sdk(known: Service) -> None:
    ordinary = DirectRequests(make_server(known))
    others = [message("resources/list", {}), message("subscriptions/listen", {})]
    for _, headers, body in of_old([*MESSAGES[len(IDS) :], *others]):
        assert await ordinary.answer(_scope(headers), body, _stays) is None, body
    for _, headers, body in of_new([message("subscriptions/listen", {})]):
        assert await ordinary.answer(_scope(headers), body, _stays) is None, body


def test_no_tool_wants_an_argument_repeated_in_a_header() -> None:
    """`DirectRequests` does not check this."""
    schemas = [tool.definition.input_schema for tool in TOOLS.values()]
    assert "x-mcp-header" not in json.dumps(schemas)


async def test_many_at_once_get_each_its_own(known: Service) -> None:
    questions = [*of_old([message("ping", {}, n) for n in range(20)]), *oddly()]
    async with opened(known, fast=True) as fast:
        alone = [await answer(fast, question) for question in questions]
        together = await asyncio.gather(*(answer(fast, question) for question in questions))
    assert together == alone


async def _stays() -> Message:
    """A client that does not leave."""
    await asyncio.Event().wait()
    raise AssertionError


def _scope(headers: Headers) -> Scope:
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "method": "POST", "path": "/mcp", "headers": sent}
