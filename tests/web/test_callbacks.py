"""`CallbackReceiver` answers callbacks with the same bytes as the documented route."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from service.app import Application, create_app
from service.config import Settings, callback_secrets
from service.tracking.callback_tokens import CallbackTokens
from service.web.server.limits import MAX_BODY
from tests.conftest import PAYLOADS
from tests.databases import execute, migrated_in
from tests.served import served_here

pytestmark = pytest.mark.either_database

Told = tuple[int, list[tuple[str, str]], bytes]

COMPLETED = json.dumps(PAYLOADS["CONSTRUCTED_video_completed"]).encode()
LATE = json.dumps({"id": PAYLOADS["CONSTRUCTED_video_completed"]["id"], "state": "queued"}).encode()
OTHER = json.dumps({**PAYLOADS["CONSTRUCTED_video_completed"], "id": "another"}).encode()
FOREIGN = {"Origin": "https://evil.example", "Host": "any.example", "Content-Type": "text/plain"}


@asynccontextmanager
async def asking(app: Application, entrance: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running application."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(entrance, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service with its fast path."""
    app = create_app(settings)
    async with asking(app, app) as client:
        yield client


@pytest.fixture
async def server(settings: Settings, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The service on a third database, behind our own server."""
    folder = tmp_path / "server"
    folder.mkdir()
    app = create_app(settings.model_copy(update={"database_url": migrated_in(folder)}))
    async with (
        app.router.lifespan_context(app),
        served_here(app) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield client


@pytest.fixture
async def route(settings: Settings, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The service on another database, without `CallbackReceiver`."""
    folder = tmp_path / "route"
    folder.mkdir()
    app = create_app(settings.model_copy(update={"database_url": migrated_in(folder)}))
    async with asking(app, app.call_framework) as client:
        yield client


@pytest.fixture
def questions(settings: Settings) -> list[httpx.Request]:
    """In this order, because the stored rows decide the responses."""
    tokens = CallbackTokens(callback_secrets(settings))
    any_, one = (
        f"http://127.0.0.1/callbacks/{token}" for token in (tokens.reusable(), tokens.single())
    )
    told = [
        *((any_, body) for body in (COMPLETED, COMPLETED, LATE, b"", b"[]", b"\xff", b'{"id": 1}')),
        *((one, body) for body in (COMPLETED, OTHER, b"nonsense")),
        *(
            (f"http://127.0.0.1/callbacks/{wrong}", COMPLETED)
            for wrong in ("", "x", "x/y", "%00", "é")
        ),
        *((f"{any_}{more}", COMPLETED) for more in ("?a=b", "/", "x", "%20")),
        (any_, b" " * MAX_BODY),
        (any_, b" " * (MAX_BODY + 1)),
        ("http://127.0.0.1/callbacks", COMPLETED),
    ]
    others = [httpx.Request(m, any_) for m in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")]
    posts = [httpx.Request("POST", url, content=body) for url, body in told]
    return [*posts, httpx.Request("POST", any_, content=COMPLETED, headers=FOREIGN), *others]


async def told(client: httpx.AsyncClient, request: httpx.Request) -> Told:
    """Everything in a response except the server's own headers."""
    asked = client.build_request(
        request.method, request.url.raw_path.decode(), content=request.content
    )
    asked.headers.update(
        {name: request.headers[name] for name in FOREIGN if name in request.headers}
    )
    answer = await client.send(asked)
    headers = [(name, v) for name, v in answer.headers.multi_items() if name != "date"]
    return answer.status_code, sorted(headers), answer.content


async def test_door_and_server_answer_as_the_route_does(
    door: httpx.AsyncClient,
    server: httpx.AsyncClient,
    route: httpx.AsyncClient,
    questions: list[httpx.Request],
) -> None:
    seen = set()
    for question in questions:
        answer = await told(door, question)
        assert answer == await told(route, question), question
        assert answer == await told(server, question), question
        assert ("x-content-type-options", "nosniff") in answer[1]
        seen.add(answer[0])
    assert seen == {200, 404, 405, 413, 422}


async def test_a_database_that_fails_has_luma_try_again(
    door: httpx.AsyncClient, settings: Settings, questions: list[httpx.Request]
) -> None:
    await asyncio.to_thread(execute, settings.database_url, "DROP TABLE deliveries")
    answer = await door.send(questions[0])
    assert (answer.status_code, answer.json()["title"]) == (503, "Temporarily unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-frame-options"] == "DENY"
