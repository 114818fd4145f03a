"""One callback of our own, from the public URL into the inbox of this store."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from service.cli.findings import Finding, Level
from service.cli.reaching import connection
from service.cli.reaching.answer import Answer, judged
from service.config import Settings, callback_secrets
from service.domain.generation import TEST_PREFIX
from service.tracking.callback_tokens import CallbackTokens
from service.tracking.deliveries import Deliveries

_PATIENCE = 15.0  # seconds
_LARGEST = 65_536  # bytes of the answer that are read
_NOT_SET = (
    "TRACKER_PUBLIC_URL is not set, so Luma cannot reach this service; tried is the address that "
    "it listens on. Set TRACKER_PUBLIC_URL to the https:// address of your tunnel or proxy"
)


async def findings(
    settings: Settings, url: str | None, deliveries: Deliveries
) -> AsyncIterator[Finding]:
    """Yield a finding for each step; an error is the last.

    Args:
        settings: of this machine.
        url: to try instead of the public URL.
        deliveries: the inbox in which the callback must arrive.
    """
    base = (url or settings.callback_base).rstrip("/")
    is_unset = url is None and settings.public_url is None
    if is_unset:
        yield Finding("public URL", _NOT_SET, Level.WARNING)
    async for finding in connection.findings(urlsplit(base)):
        if not (is_unset and finding.level is Level.WARNING):  # that Luma cannot come is said
            yield finding
        if finding.level is Level.ERROR:
            return
    body = _test_body()
    answered = await _sent(settings, base, body)
    yield answered
    arrived = await deliveries.take_test(body["id"])
    if answered.level is not Level.ERROR:
        yield _compared(settings, body, arrived[1] if arrived else None)


async def _sent(settings: Settings, base: str, body: dict[str, Any]) -> Finding:
    token = CallbackTokens(callback_secrets(settings)).reusable()
    try:
        return judged(await _post(f"{base}/callbacks/{token}", json.dumps(body).encode()))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = type(error).__name__
        message = (
            f"none ({reason}): the connection opens, but the request is not answered. Find out in "
            "the log of the proxy, tunnel or service why"
        )
        return Finding("answer", message, Level.ERROR)


async def _post(url: str, body: bytes) -> Answer:
    """Post as Luma does, and read the beginning of the answer."""
    headers = {"Content-Type": "application/json"}
    started = time.monotonic()
    async with (
        httpx.AsyncClient(timeout=_PATIENCE, follow_redirects=False) as client,
        client.stream("POST", url, content=body, headers=headers) as response,
    ):
        read = b""
        async for chunk in response.aiter_bytes():
            read += chunk
            if len(read) > _LARGEST:
                break
    return Answer(response.status_code, response.headers, read, time.monotonic() - started)


def _test_body() -> dict[str, Any]:
    """Return a body as Luma's, with an id that no generation has."""
    return {
        "id": f"{TEST_PREFIX}{uuid4()}",
        "generation_type": "video",
        "state": "completed",
        "failure_reason": None,
        "created_at": datetime.now(UTC).isoformat(),
        "assets": {"video": "https://storage.cdn-luma.com/test/%C3%BC.mp4"},
        "model": "ray-2",
        "request": {"prompt": "a lake, ein See, 湖", "loop": False, "weight": 0.1},
    }


def _compared(settings: Settings, sent: dict[str, Any], arrived: Any) -> Finding:
    """Return whether the callback has arrived in this store as it was sent."""
    about = f"inbox in {settings.database_name}"
    if arrived is None:
        message = (
            "the callback was accepted, but is not here: the service at the public URL has another "
            "database. Set TRACKER_DATABASE_URL to the same here and there"
        )
        return Finding(about, message, Level.ERROR)
    if arrived != sent:
        message = (
            "the callback arrived with another body: something on the way rewrites it. Have the "
            "proxy pass /callbacks/ on unchanged"
        )
        return Finding(about, message, Level.ERROR)
    return Finding(about, "the callback arrived unchanged, and was removed again")
