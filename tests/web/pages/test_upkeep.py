"""The pages of the inbox, of webhooks and of statistics, in a browser."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.endpoints import serving_endpoints
from tests.web.pages.conftest import CALLBACK, Served, served, visit

pytestmark = [pytest.mark.either_database, pytest.mark.thorough]

LONG = {"model": f"ray-{'2' * 70}", "failure_reason": "again and " * 900}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with an inbox that holds something good and something bad."""
    folder = tmp_path_factory.mktemp("upkeep")
    secret = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    with served(folder, webhook_allow="127.0.0.0/8", webhook_secret=secret) as service:
        service.tell("ended", "completed", prompt="a lake")
        service.tell("broken", "failed", failure_reason='moderated "again" <script>')
        service.tell("long", "failed", age=9 * 86_400, **LONG)
        assert service.http.post(CALLBACK, content="<b>no JSON").status_code == 422
        yield service


def test_the_inbox_shows_what_was_not_understood_and_folds_it_again(
    browser: Browser, service: Served
) -> None:
    with visit(browser, service, "/deliveries") as seen:
        page = seen.page
        expect(page.locator("tbody tr")).to_have_count(4)
        assert seen.violations() == []
        assert service.http.post(CALLBACK, content="no JSON either").status_code == 422
        page.get_by_role("link", name="1 new").click()
        expect(page.locator("tbody tr")).to_have_count(5)
        page.get_by_role("link", name="kept").click()
        expect(page).to_have_url(f"{service.url}/deliveries?outcome=kept")
        expect(page.locator("tbody tr")).to_have_count(2)
        page.locator("tbody tr").last.locator("a").first.click()
        expect(page.locator("pre")).to_have_text("<b>no JSON")
        assert seen.violations() == []
        page.get_by_role("button", name="Fold again").click()
        expect(page.locator("h1")).to_contain_text("Delivery")
        page.goto(f"{service.url}/deliveries")
        page.get_by_role("button", name="Fold 2 kept again").click()
        expect(page.get_by_role("status").first).to_have_text("0 folded.")
        page.goto(f"{service.url}/deliveries?outcome=applied")
        page.get_by_role("button", name="Fold 3 again").click()
        expect(page.get_by_role("status").first).to_have_text("3 folded.")
        generation = page.locator("tbody code").first.inner_text()
        page.get_by_label("Generation ID").fill(generation)
        page.get_by_label("Generation ID").press("Enter")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.get_by_role("button", name="Fold 1 again")).to_be_visible()
        assert seen.violations() == []
        assert seen.problems == []


def test_an_endpoint_is_added_tested_replayed_and_deleted(
    browser: Browser, service: Served, tmp_path: Path
) -> None:
    with serving_endpoints() as endpoint, visit(browser, service, "/webhooks") as seen:
        page = seen.page
        assert seen.violations() == []
        page.get_by_label("URL").fill("http://10.0.0.1/private")
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("alert")).to_contain_text("10.0.0.1")
        page.get_by_label("URL").fill(endpoint.url("/hook"))
        page.get_by_label("Only what matches").fill("is:opne")
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("alert")).to_contain_text("did you mean open?")
        page.get_by_label("Only what matches").fill("is:terminal")
        page.get_by_role("button", name="Add").click()
        expect(page.locator("h1")).to_have_text(endpoint.url("/hook"))
        page.get_by_role("button", name="Send a test").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody")).to_contain_text("a test")
        added = page.url.rpartition("/")[2]
        assert service.http.post(f"/v1/webhooks/{added}/test").status_code == 200
        page.get_by_role("link", name="1 new").click()
        expect(page.locator("tbody tr")).to_have_count(2)
        assert seen.violations() == []
        page.get_by_text("Delete", exact=True).click()
        page.get_by_role("button", name="Delete, and drop").click()
        expect(page.locator("h2").first).to_have_text("No endpoints yet")


def test_statistics_are_bars_and_numbers_that_lead_to_the_generations(
    browser: Browser, service: Served
) -> None:
    with visit(browser, service, "/stats?since=-7d", java_script_enabled=False) as seen:
        page = seen.page
        expect(page.locator(".tiles dd").first).to_have_text("2")
        expect(page.locator("tbody tr")).to_have_count(8)
        page.get_by_role("link", name='moderated "again" <script>').click()
        expect(page.locator(".card")).to_have_count(1)
        expect(page.locator(".card")).to_contain_text("film of broken")
    with visit(browser, service, "/stats?by=model") as seen:
        page = seen.page
        page.set_viewport_size({"width": 390, "height": 800})
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        page.get_by_role("link", name="again and again").click()
        expect(page.locator(".card")).to_have_count(1)
        page.locator(".card a").first.click()
        assert page.locator(".failure").evaluate("it => it.clientHeight < innerHeight")
        assert seen.violations() == []
    with visit(browser, service, "/stats?by=model&since=-7d") as seen:
        page = seen.page
        assert seen.violations() == []
        page.get_by_role("link", name="ray-2").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".card")).to_have_count(2)
        page.go_back()
        page.get_by_role("link", name="By day").click()
        page.locator("tbody tr").last.get_by_role("link").click()
        expect(page.locator(".card")).to_have_count(2)
        twin = service.http.get("/v1/stats?since=-7d&by=day")
        assert json.loads(twin.content)["totals"]["generations"] == 2
    with visit(browser, service, "/stats?by=model&since=-7d") as seen:
        page = seen.page
        page.get_by_role("link", name="ray-2").focus()
        service.tell("later", "completed")
        expect(page.locator(".tiles dd").first).to_have_text("3")
        expect(page.get_by_role("link", name="ray-2")).to_be_focused()
    assert "bye: Unknown parameter. Did you mean `by`?" in service.http.get("/stats?bye=day").text
