"""The application as a whole: its routes and its access control."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from starlette.types import Message

from service import __version__
from service.app import create_app
from service.config import Settings, callback_secrets
from service.simulator import Luma
from service.tracking.callback_tokens import CallbackTokens
from tests.conftest import PAYLOADS
from tests.databases import destroy

pytestmark = pytest.mark.either_database

Starter = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def start(settings: Settings) -> AsyncIterator[Starter]:
    """Starts applications with their own settings; returns a client of each."""
    async with AsyncExitStack() as stack:

        async def started(**changed: Any) -> httpx.AsyncClient:
            app = create_app(Settings.model_validate({**settings.model_dump(), **changed}))
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")
            return await stack.enter_async_context(client)

        yield started


@pytest.mark.parametrize("fast", [True, False])
async def test_ordinary_mcp_requests_are_left_to_the_sdk_only_where_that_is_set(
    settings: Settings, *, fast: bool
) -> None:
    app = create_app(settings.model_copy(update={"mcp_fast": fast}))
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
    ping = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
    async with app.router.lifespan_context(app):
        assert (await app.state.mcp.answer(scope, ping, _stays) is not None) == fast


async def _stays() -> Message:
    """A client that does not leave."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_healthy_service_says_so(start: Starter) -> None:
    http = await start()
    assert (await http.get("/healthz")).json() == {"alive": True}
    assert (await http.get("/readyz")).json() == {"ready": True, "callbacks": False}


async def test_a_service_that_luma_can_call_says_so(start: Starter) -> None:
    http = await start(public_url="https://tracker.example")
    assert (await http.get("/readyz")).json() == {"ready": True, "callbacks": True}


async def test_a_service_whose_database_is_gone_is_alive_and_not_ready(
    start: Starter, settings: Settings
) -> None:
    http = await start()
    destroy(settings.database_url)
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    answer = await http.get("/agents/v1/generations/any")
    assert (answer.status_code, [*answer.json()]) == (503, ["detail"])
    assert (await http.get("/healthz")).status_code == 200


async def test_the_api_is_described(start: Starter) -> None:
    http = await start()
    description = (await http.get("/openapi.json")).json()
    assert description["info"]["version"] == __version__
    assert "/v1/generations/{generation_id}" in description["paths"]


async def test_mcp_is_spoken_by_post_alone(start: Starter) -> None:
    http = await start()
    for method in ("GET", "DELETE", "PUT", "HEAD"):
        answer = await http.request(method, "/mcp")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await http.get("/mcp/")).status_code == 404, "and nothing redirects there"


async def test_tools_are_called_over_http(start: Starter, luma: Luma) -> None:
    http = await start()
    made = luma.create()
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "get_generation", "arguments": {"generation_id": made}},
    }
    headers = {"Accept": "application/json, text/event-stream"}
    answer = await http.post("/mcp", json=call, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["result"]["structuredContent"]["id"] == made


async def test_tokens_guard_everything_but_health_and_callbacks(start: Starter) -> None:
    http = await start(api_tokens="a-token", callback_secret="secret")
    for path in ("/v1/generations", "/mcp", "/openapi.json", "/docs", "/nowhere"):
        assert (await http.get(path)).status_code == 401
    allowed = {"Authorization": "Bearer a-token"}
    assert (await http.get("/v1/generations", headers=allowed)).status_code == 200
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.post("/callbacks/wrong")).status_code == 404


async def test_no_header_for_other_origins_unless_they_are_named(start: Starter) -> None:
    origin = {"Origin": "https://page.example"}
    http = await start()
    assert not [
        h
        for h in (await http.get("/v1/generations", headers=origin)).headers
        if "access-control" in h
    ]
    named = await start(cors_origins="https://page.example")
    answer = await named.get("/v1/generations", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert "ETag" in answer.headers["access-control-expose-headers"]


async def test_a_named_origin_may_ask_beforehand_even_where_tokens_are_wanted(
    start: Starter,
) -> None:
    http = await start(cors_origins="https://page.example", api_tokens="a-token")
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "Authorization",
    }
    answer = await http.options("/v1/generations", headers=asked)
    assert answer.status_code == 200
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    refused = await http.get("/v1/generations", headers={"Origin": "https://page.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example"


async def test_without_tokens_the_public_name_is_for_callbacks_and_health_alone(
    start: Starter, settings: Settings
) -> None:
    http = await start(public_url="https://tracker.example/luma")
    body = json.dumps(PAYLOADS["CONSTRUCTED_video_completed"])
    callback = f"/callbacks/{CallbackTokens(callback_secrets(settings)).reusable()}"
    for host in ("tracker.example", "other.example"):
        named = {"Host": host}
        assert (await http.post(callback, content=body, headers=named)).status_code == 200
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/v1/generations", 421)):
            assert (await http.get(path, headers=named)).status_code == status, path


async def test_with_tokens_any_name_is_ours(start: Starter) -> None:
    http = await start(public_url="https://tracker.example/luma", api_tokens="a-token")
    for host in ("tracker.example", "other.example"):
        allowed = {"Host": host, "Authorization": "Bearer a-token"}
        assert (await http.get("/v1/generations", headers=allowed)).status_code == 200


async def test_nothing_is_redirected(start: Starter) -> None:
    http = await start(callback_secret="secret")
    for path in ("/v1/generations/", "/healthz/"):
        assert (await http.get(path)).status_code == 404
        assert (await http.post(path)).status_code == 404
    assert (await http.post("/callbacks/x/")).status_code == 404


async def test_the_secret_of_callbacks_outlives_the_application(
    start: Starter, settings: Settings
) -> None:
    body = json.dumps(PAYLOADS["CONSTRUCTED_video_completed"])
    for _ in range(2):
        http = await start()
        token = CallbackTokens(callback_secrets(settings)).reusable()
        assert (await http.post(f"/callbacks/{token}", content=body)).status_code == 200
