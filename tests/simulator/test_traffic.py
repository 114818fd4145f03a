"""The record of requests: what arrived can be asserted, and it does not grow without end."""

import asyncio
import json

import httpx
from lumaai import LumaAI
from starlette.types import Message, Receive, Scope, Send

from service.simulator import Luma
from service.simulator.traffic import BODY_KEPT, KEPT, Traffic


def test_headers_and_body_are_kept_as_they_arrived(luma: Luma, sdk: LumaAI) -> None:
    sdk.generations.create(
        model="ray-2", prompt="a lake", extra_headers={"Idempotency-Key": "mine"}
    )
    (seen,) = luma.requests
    assert seen.headers["idempotency-key"] == "mine"
    assert seen.headers["authorization"] == "Bearer key"
    assert json.loads(seen.body) == {"model": "ray-2", "prompt": "a lake"}


def test_a_repeated_header_is_kept_as_often(luma: Luma) -> None:
    headers = [("X-Many", "1"), ("X-Many", "2")]
    httpx.get(luma.dream_machine_url, headers=headers, trust_env=False)
    assert luma.requests[0].headers.getlist("x-many") == ["1", "2"]


def test_only_the_beginning_of_a_large_body_is_kept(luma: Luma) -> None:
    url = f"{luma.dream_machine_url}/generations"
    headers = {"Authorization": "Bearer key"}
    httpx.post(url, json={"prompt": "x" * BODY_KEPT}, headers=headers, trust_env=False)
    assert len(luma.requests[0].body) == BODY_KEPT
    assert luma.requests[0].body.startswith(b'{"prompt":"xxx')


def test_the_last_requests_are_kept_and_all_are_counted() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(_message: Message) -> None:
        """Send nothing."""

    async def ask(times: int) -> None:
        for number in range(times):
            scope = {"method": "GET", "path": f"/{number % 7}", "query_string": b"", "headers": []}
            await traffic(scope, receive, send)

    traffic = Traffic(app)
    asyncio.run(ask(KEPT + 10))
    assert len(traffic.requests) == KEPT
    assert traffic.requests[0].path == f"/{10 % 7}"
    assert {seen.status for seen in traffic.requests} == {204}
    assert traffic.count("GET", "") == KEPT + 10
    assert traffic.count(None, "/6") == (KEPT + 10) // 7
