"""One service on a socket, and one browser, for all tests of pages in a file."""

import asyncio
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from service.app import create_app
from service.config import Settings
from service.tracking.callback_tokens import CallbackTokens
from tests.databases import migrated_in

SECRET = "secret-of-the-tests-of-pages"
CALLBACK = f"/callbacks/{CallbackTokens([SECRET]).reusable()}"
MEDIA = "https://storage.cdn-luma.com"


def drawn(url: str) -> str:
    """A picture of its own for each URL."""
    hue = sum(url.encode()) * 47 % 360
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 180" width="320" height="180">'
        f'<path fill="hsl({hue} 45% 70%)" d="M0 0H320V180H0z"/>'
        f'<circle cx="{80 + hue / 2}" cy="70" r="26" fill="#fff9"/>'
        f'<path fill="hsl({hue + 30} 40% 48%)" d="M0 150Q90 {60 + hue / 8} 170 120T320 90V180H0z"/>'
        f'<path fill="hsl({hue + 50} 45% 28%)" d="M0 170Q120 110 320 165V180H0z"/></svg>'
    )


expect.set_options(timeout=20_000)  # milliseconds


class Served:
    """The application on a port of its own; it can be stopped and started again."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self._settings = Settings.model_validate(
            {"database_url": migrated_in(folder), "callback_secret": SECRET, **more}
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False)

    def start(self, **changed: Any) -> None:
        values = {**self._settings.model_dump(), **changed}
        self._app = app = create_app(Settings.model_validate(values))
        config = uvicorn.Config(app, port=self.port, log_level="warning", ws="none")
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self._server.started

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._app.state.tracker.stop_waiting)  # as `serve` does
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def tell(self, generation_id: str, state: str, *, age: float = 60, **more: Any) -> None:
        """Send a callback."""
        made = datetime.now(UTC) - timedelta(seconds=age)
        request = {"prompt": more.pop("prompt", f"a film of {generation_id}"), "model": "ray-2"}
        body: dict[str, Any] = {"id": generation_id, "state": state, "generation_type": "video"}
        body |= {"model": "ray-2", "created_at": made.isoformat(), "request": request, **more}
        assert self.http.post(CALLBACK, content=json.dumps(body)).status_code == 200


@contextmanager
def served(folder: Path, **more: Any) -> Iterator[Served]:
    """A service, from start to stop."""
    service = Served(folder, **more)
    service.start()
    try:
        yield service
    finally:
        service.stop()
        service.http.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. While it runs, the thread has a loop, so all tests here are sync."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed, as by `apt-get install chromium`")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program or "chromium", args=["--no-sandbox"]
        )
        yield started
        started.close()


class Visit:
    """A page in the browser, what it asked other hosts for, and what it complained about."""

    def __init__(self, page: Page, own: str) -> None:
        self.page = page
        self.asked: list[str] = []
        self.problems: list[str] = []
        self.own = own
        page.on("console", self._complain)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.route(lambda url: not url.startswith(own), self._answer)

    def _complain(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _answer(self, route: Route) -> None:
        url = route.request.url
        self.asked.append(url)
        if "dead" in url:
            route.fulfill(status=403, body="expired")
        else:
            route.fulfill(body=drawn(url), content_type="image/svg+xml")

    def violations(self) -> list[str]:
        """What an accessibility check finds."""
        found = Axe().run(self.page)
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found.response["violations"]
            for node in each["nodes"]
        ]


@contextmanager
def visit(browser: Browser, service: Served, path: str = "/", **context: Any) -> Iterator[Visit]:
    """Open a page of the service in a window of its own."""
    opened = browser.new_context(viewport={"width": 1280, "height": 800}, **context)
    try:
        visited = Visit(opened.new_page(), service.url)
        visited.page.goto(service.url + path)
        yield visited
    finally:
        opened.close()
