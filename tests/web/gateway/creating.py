"""Creates through the whole application, as a client of Luma sends them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from service.app import create_app
from service.config import Settings
from service.simulator import Fault, Luma

PUBLIC_URL = "http://127.0.0.1:9"
"""Nothing listens there; tests of callbacks serve a real one."""
VIDEO = {"prompt": "a lake at sunset", "model": "ray-2"}
CREATED = "/dream-machine/v1/generations/video"
AGENTS = "/agents/v1/generations"


@asynccontextmanager
async def instance(settings: Settings, **changed: object) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application of its own, on the database of the settings."""
    values = {**settings.model_dump(), "public_url": PUBLIC_URL, "api_tokens": ["token", "other"]}
    app = create_app(Settings.model_validate({**values, "reconcile": False, **changed}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": "Bearer token"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=30
        ) as client,
    ):
        yield client


async def post(
    http: httpx.AsyncClient, body: object = VIDEO, path: str = CREATED, **headers: str
) -> httpx.Response:
    """Create a generation; header names have `_` for `-`."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent.setdefault("Content-Type", "application/json")
    return await http.post(path, content=raw, headers=sent)


async def submission(http: httpx.AsyncClient, created: httpx.Response) -> dict[str, Any]:
    """What became of a create."""
    answer = await http.get(f"/v1/submissions/{created.headers['x-submission-id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sent(luma: Luma) -> list[bytes]:
    """The bodies of the creates that reached Luma."""
    return [seen.body for seen in luma.requests if seen.method == "POST"]


def fault(luma: Luma, **given: Any) -> None:
    """Let the next create fail."""
    luma.fault(Fault(method="POST", **given))
