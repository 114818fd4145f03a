"""The view of a generation, in a real browser, with a host that speaks the extension's messages."""

import base64
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.async_playwright import Axe
from mcp import Client
from mcp_types import TextResourceContents
from playwright.async_api import Browser, Frame, Page, Route, async_playwright, expect

from service.domain.durations import ASSUMED_MEDIANS
from service.mcp_server import Service, make_server
from service.tracking.callback_tokens import Grant

pytestmark = pytest.mark.either_database

expect.set_options(timeout=20_000)  # milliseconds

VIEW = "ui://luma-tracker/generation"
HOST_PAGE = Path(__file__).with_name("view_host.html").read_text()
EVERYTHING: dict[str, Any] = {"openLinks": {}, "serverTools": {}, "message": {}}
VIDEO = "https://storage.cdn-luma.com/dream_machine/1/result.mp4"
IMAGE = "https://storage.cdn-luma.com/dream_machine/1/thumb.png"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A connected client."""
    async with Client(make_server(service)) as connected:
        yield connected


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed, as by `apt-get install chromium`")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=program or "chromium", args=["--no-sandbox"]
        )
        yield started
        await started.close()


async def report(service: Service, state: str, **more: Any) -> None:
    """Receive a callback about the generation `g`."""
    made = (datetime.now(UTC) - timedelta(seconds=30)).isoformat()
    body = {"id": "g", "state": state, "model": "ray-2", "created_at": made, **more}
    body |= {"generation_type": "video", "request": {"prompt": "<b>a lake</b>"}}
    await service.tracker.deliveries.receive(json.dumps(body).encode(), Grant())


async def result_of(client: Client, tool: str, arguments: dict[str, Any]) -> Any:
    """The result of a tool, as a host passes it on."""
    found = await client.call_tool(tool, arguments)
    return found.model_dump(mode="json", by_alias=True, exclude_none=True)


async def content_of(client: Client) -> TextResourceContents:
    """The view as a client reads it."""
    [content] = (await client.read_resource(VIEW)).contents
    assert isinstance(content, TextResourceContents)
    return content


def policy_of(content: TextResourceContents) -> str:
    """The policy that a host must derive from the metadata, as the extension says."""
    assert content.meta
    csp = content.meta["ui"]["csp"]
    hosts = " ".join(csp["resourceDomains"])
    connected = " ".join(csp["connectDomains"]) or "'none'"
    inline = f"'self' 'unsafe-inline' {hosts}"
    return (
        f"default-src 'none'; script-src {inline}; style-src {inline}; "
        f"img-src 'self' data: {hosts}; media-src 'self' data: {hosts}; "
        f"connect-src {connected}; frame-src 'none'"
    )


@dataclass
class Shown:
    """The view in its host."""

    page: Page
    frame: Frame
    asked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def tell(self, method: str, params: Any) -> None:
        """Send a notification from the host."""
        await self.page.evaluate("([method, params]) => tell(method, params)", [method, params])

    async def said(self, method: str) -> list[Any]:
        """The parameters of what the view has sent; there is something, or will be."""
        await self.page.wait_for_function(
            "(name) => said.some((m) => m.method === name)", arg=method
        )
        script = "(method) => said.filter((m) => m.method === method).map((m) => m.params)"
        return list(await self.page.evaluate(script, method))

    async def violations(self) -> list[str]:
        """What an accessibility check finds."""
        found = await Axe().run(self.frame)
        return [each["id"] for each in found.response["violations"]]


@asynccontextmanager
async def shown(
    browser: Browser, client: Client, capabilities: dict[str, Any]
) -> AsyncIterator[Shown]:
    """The view, after its handshake with a host that can do so much."""
    content = await content_of(client)
    asked: list[str] = []
    problems: list[str] = []

    async def answer(route: Route) -> None:
        url = route.request.url
        if url.startswith("https://host.example/"):
            await route.fulfill(body=HOST_PAGE, content_type="text/html")
        elif url == "https://view.example/":
            headers = {"Content-Security-Policy": policy_of(content)}
            await route.fulfill(body=content.text, content_type="text/html", headers=headers)
        else:
            asked.append(url)
            if url != VIDEO:  # which stays on its way
                await route.fulfill(body=PIXEL, content_type="image/png")

    page = await browser.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.route("**/*", answer)
    await page.expose_function("callTool", lambda name, given: result_of(client, name, given))
    await page.goto(f"https://host.example/#{quote(json.dumps(capabilities))}")
    await page.wait_for_function("said.some((m) => m.method === 'ui/notifications/initialized')")
    frame = page.frames[1]
    yield Shown(page, frame, asked, problems)
    await page.close()


async def test_a_generation_is_shown_waited_for_and_opened_by_keyboard(
    browser: Browser, client: Client, service: Service
) -> None:
    await report(service, "dreaming")
    async with shown(browser, client, EVERYTHING) as view:
        frame, page = view.frame, view.page
        result = await result_of(client, "get_generation", {"generation_id": "g"})
        await view.tell("ui/notifications/tool-result", result)

        await expect(frame.get_by_role("status")).to_have_text(re.compile(r"◔\s+dreaming"))
        await expect(frame.locator("#time")).to_have_text(
            re.compile(r"^(\d min )?\d+ s, usually about 1 min 10 s$")
        )
        await expect(frame.get_by_role("progressbar")).to_be_visible()
        await expect(frame.locator("#prompt")).to_have_text("<b>a lake</b>")
        assert await view.violations() == []
        await view.tell("ui/notifications/host-context-changed", {"theme": "dark"})
        await expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
        assert await view.violations() == []

        await frame.get_by_role("button", name="Wait until").focus()
        await page.keyboard.press("Enter")
        await view.said("tools/call")
        await report(service, "completed", assets={"video": VIDEO, "image": IMAGE})

        await expect(frame.get_by_role("status")).to_have_text(re.compile(r"✓\s+completed"))
        await expect(frame.locator("video")).to_have_attribute("src", VIDEO)
        await expect(frame.get_by_role("progressbar")).to_be_hidden()
        await expect(frame.locator("#next")).to_contain_text("not confirmed")
        assert await view.violations() == []
        await frame.get_by_role("button", name="Open the video").press("Enter")
        assert await view.said("ui/open-link") == [{"url": VIDEO}]
        await frame.get_by_role("button", name="Ask for an upscale").click()
        [message] = await view.said("ui/message")
        assert message["content"][0]["text"] == "Upscale the generation g to 4k."
        assert await view.said("ui/notifications/size-changed")
        assert set(view.asked) == {VIDEO, IMAGE}, "no other request"
        assert view.problems == []


@pytest.mark.thorough
async def test_failures_are_words_and_a_host_that_can_do_nothing_gets_no_buttons(
    browser: Browser, client: Client, service: Service
) -> None:
    await report(service, "failed", failure_reason="<img src=x> moderation")
    async with shown(browser, client, {}) as view:
        frame = view.frame
        result = await result_of(client, "wait_for_generation", {"generation_id": "g"})
        await view.tell("ui/notifications/tool-result", result)
        await expect(frame.get_by_role("status")).to_have_text(re.compile(r"✕\s+failed"))
        await expect(frame.locator("#reason")).to_have_text("Reason: <img src=x> moderation")
        await expect(frame.get_by_role("button")).to_have_count(0)
        assert await view.violations() == []

        error = await result_of(client, "get_generation", {"generation_id": "no such id"})
        await view.tell("ui/notifications/tool-result", error)
        await expect(frame.locator("#reason")).to_contain_text("Error getting generation")
        await view.tell("ui/notifications/tool-cancelled", {})
        await expect(frame.locator("#reason")).to_have_text("The call was cancelled.")

        hostile = result["structuredContent"] | {
            "state": "completed",
            "assets": {"video": "javascript:alert(1)", "image": "https://evil.example/x.png"},
        }
        await view.tell("ui/notifications/tool-result", {"structuredContent": hostile})
        await expect(frame.locator("#no-preview")).to_be_visible()
        assert await frame.locator("video").get_attribute("src") is None
        await view.page.evaluate("send({ id: 7, method: 'nonsense' })")
        await view.page.wait_for_function("said.some((m) => m.error?.code === -32601)")
        assert view.asked == [], "the policy stopped it"
        assert [each for each in view.problems if "violates" not in each] == []


async def test_two_tools_name_the_view_and_their_results_stay_as_they_are(
    client: Client, service: Service
) -> None:
    await report(service, "completed")
    named = {
        tool.name: tool.meta["ui"]["resourceUri"]
        for tool in (await client.list_tools()).tools
        if tool.meta
    }
    assert named == {"get_generation": VIEW, "wait_for_generation": VIEW}
    result = await result_of(client, "get_generation", {"generation_id": "g"})
    assert "ui://" not in json.dumps(result)


async def test_the_view_is_one_small_file_that_loads_nothing(client: Client) -> None:
    content = await content_of(client)
    assert content.mime_type == "text/html;profile=mcp-app"
    assert len(content.text.encode()) < 15_000
    assert (
        re.findall(r"""(?:src|href)=|url\(|@import|\bfetch\(|innerHTML|eval\(""", content.text)
        == []
    )
    assert content.meta == {
        "ui": {
            "csp": {
                "connectDomains": [],
                "resourceDomains": ["https://*.cdn-luma.com", "https://*.amazonaws.com"],
                "frameDomains": [],
            },
            "prefersBorder": True,
        }
    }
    [listed] = [each for each in (await client.list_resources()).resources if each.uri == VIEW]
    assert (listed.mime_type, listed.meta) == (content.mime_type, content.meta)


async def test_the_usual_times_are_those_that_the_tracker_assumes(client: Client) -> None:
    [usual] = re.findall(r"const USUAL = \{(.*?)\}", (await content_of(client)).text)
    pairs = [part.split(":") for part in usual.split(",")]
    assert {name.strip(): float(seconds) for name, seconds in pairs} == ASSUMED_MEDIANS
