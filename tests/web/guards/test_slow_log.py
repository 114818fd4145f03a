"""Only slow requests are logged; time that a client asked to wait does not count."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from service.app import create_app
from service.config import Settings
from service.simulator import Fault, Luma
from service.tracking.callback_tokens import CallbackTokens

pytestmark = pytest.mark.either_database

SECRET = "secret-of-the-tests"


@pytest.fixture
async def http(
    settings: Settings, request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that logs requests of more than a quarter of a second, or as given."""
    slow_after = getattr(request, "param", 0.25)
    given = {**settings.model_dump(), "callback_secret": SECRET, "slow_after": slow_after}
    app = create_app(Settings.model_validate(given))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client


async def slow(http: httpx.AsyncClient, method: str, url: str, **given: Any) -> list[Any]:
    """The log lines of slow requests."""
    with capture_logs() as logs:
        await http.request(method, url, **given)
    return [entry for entry in logs if entry["event"] == "slow_request"]


async def test_a_request_that_took_long_is_logged(http: httpx.AsyncClient, luma: Luma) -> None:
    made = luma.create()
    luma.fault(Fault(delay=0.5, times=2))  # whichever upstream is asked first
    [entry] = await slow(http, "GET", f"/v1/generations/{made}?fresh=true")
    assert entry["path"] == f"/v1/generations/{made}"
    assert (entry["method"], entry["status"]) == ("GET", 200)
    assert 0.25 < entry["seconds"] < 5


async def test_other_requests_are_not_logged(http: httpx.AsyncClient, luma: Luma) -> None:
    made = luma.create()
    await http.get(f"/v1/generations/{made}")
    assert await slow(http, "GET", f"/v1/generations/{made}") == []


@pytest.mark.parametrize("http", [1.0], indirect=True)
@pytest.mark.parametrize("url", ["/v1/generations/{}?wait=1.1", "/v1/events?after=now&wait=1.1"])
async def test_waiting_on_purpose_is_not_slow(
    http: httpx.AsyncClient, luma: Luma, url: str
) -> None:
    made = luma.create()
    await http.get(f"/v1/generations/{made}")
    assert await slow(http, "GET", url.format(made)) == []
    assert await slow(http, "HEAD", url.format(made)) == []


async def test_no_token_is_logged(http: httpx.AsyncClient) -> None:
    token = CallbackTokens([SECRET]).reusable()

    async def dawdling() -> AsyncIterator[bytes]:
        yield b'{"id": "a",'
        await _moment()
        yield b'"state": "queued"}'

    [entry] = await slow(http, "POST", f"/callbacks/{token}", content=dawdling())
    assert entry["status"] == 200
    assert token not in str(entry)
    assert entry["path"].startswith("/callbacks/")


async def _moment() -> None:
    """Slightly more than the limit."""
    await asyncio.sleep(0.4)
