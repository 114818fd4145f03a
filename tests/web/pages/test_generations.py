"""The pages of generations in a real browser, with and without scripts."""

import base64
import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from service.simulator import ManualClock, Simulator
from tests.waiting import until
from tests.web.pages.conftest import MEDIA, Served, served, visit

pytestmark = pytest.mark.either_database

HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> \u202eevil\u202c \x07 \"' {{ 7*7 }}"
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that no generation was reported to."""
    with served(tmp_path_factory.mktemp("empty")) as service:
        yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with some generations of each kind."""
    with served(tmp_path_factory.mktemp("pages")) as service:
        for number in range(40):
            service.tell(f"old-{number:02}", "completed", age=90_000 + number)
        service.tell("gen-dead", "completed", age=50, assets={"image": f"{MEDIA}/dead.jpg"})
        hostile = {"video": "javascript:alert(1)", "image": "data:text/html,x"}
        service.tell("gen-script", "completed", age=45, prompt=HOSTILE, assets=hostile)
        service.tell("gen-long", "dreaming", age=40, prompt="long " * 2_000)
        service.tell(
            "gen-failed", "failed", age=35, failure_reason="<b>Frame</b> moderation failed"
        )
        assets = {"video": f"{MEDIA}/1/result.mp4", "image": f"{MEDIA}/1/thumb.jpg"}
        service.tell("gen-done", "dreaming", age=30, prompt="a lake at dawn")
        service.tell("gen-done", "completed", age=30, prompt="a lake at dawn", assets=assets)
        service.tell("gen-done", "dreaming", age=30, prompt="a lake at dawn")  # too late
        service.tell("gen-done", "completed", age=30, prompt="a lake at dawn", assets=assets)
        yield service


def test_an_empty_list_teaches_with_the_real_urls(browser: Browser, empty: Served) -> None:
    with visit(browser, empty) as seen:
        main = seen.page.locator("main")
        for text in ("/dream-machine/v1", "/agents/v1", "/mcp"):
            expect(main).to_contain_text(empty.url + text)
        expect(main).to_contain_text("luma-tracker callback-url")
        assert seen.violations() == []
        seen.page.goto(f"{empty.url}/?q=lake")
        expect(main).to_contain_text("Nothing matches")
        assert seen.problems == []


def test_the_first_page_is_small_asks_no_other_host_until_looked_at_and_is_kept_by_caches(
    browser: Browser, service: Served
) -> None:
    sizes: dict[str, int] = {}
    with visit(browser, service, "/sign-in") as seen:
        seen.page.on("requestfinished", lambda request: sizes.__setitem__(
            request.url, request.sizes()["responseBodySize"]))  # fmt: skip
        seen.page.goto(service.url)
        expect(seen.page.locator("[data-live-word]")).to_have_text("Live")
        assert len(sizes) > 8
        assert sum(sizes.values()) < 60_000, sizes
        file = next(url for url in sizes if url.endswith("pages.css"))
    answer = service.http.get(file)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    plain = service.http.get(file, headers={"Accept-Encoding": "identity"})
    assert plain.content == answer.content
    assert service.http.get("/static/pages/other/pages.css").headers["cache-control"] == "no-cache"
    assert service.http.get("/static/pages/x/README.md").status_code == 404


@pytest.mark.thorough
def test_previews_load_when_they_are_looked_at_and_dead_ones_say_so(
    browser: Browser, service: Served
) -> None:
    service.tell("far-away", "completed", age=95_000, assets={"image": f"{MEDIA}/far.jpg"})
    service.tell("far-film", "completed", age=95_001, assets={"video": f"{MEDIA}/far.mp4"})
    with visit(browser, service, "/?limit=60") as seen:
        dead = seen.page.locator('[data-part="g-gen-dead"]')
        expect(dead.locator(".dead")).to_be_visible()
        expect(dead.get_by_role("button", name="Ask Luma again")).to_be_visible()
        expect(seen.page.locator('[data-part="g-gen-done"] img')).to_have_attribute(
            "src", f"{MEDIA}/1/thumb.jpg"
        )
        assert f"{MEDIA}/far.jpg" not in seen.asked
        assert not any(url.endswith(".mp4") for url in seen.asked)
        seen.page.locator('[data-part="g-far-away"]').scroll_into_view_if_needed()
        expect(seen.page.locator('[data-part="g-far-away"] img')).to_be_visible()
        seen.page.locator('[data-part="g-far-film"]').scroll_into_view_if_needed()
        expect(seen.page.locator('[data-part="g-far-film"] .dead')).to_be_visible()
        assert f"{MEDIA}/far.mp4" in seen.asked, "which is a picture here, so no film"
        dead.scroll_into_view_if_needed()
        dead.get_by_role("button", name="Ask Luma again").click()
        expect(seen.page).to_have_url(f"{service.url}/generations/gen-dead")


@pytest.mark.thorough
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_is_accessible_in_both_themes_and_on_a_phone(
    browser: Browser, service: Served, theme: str
) -> None:
    with visit(browser, service, color_scheme=theme) as seen:
        for path in ("/", "/?view=table", "/generations/gen-done", "/generations/gen-failed",
                     "/?q=stat:failed", "/generations/gen-script"):  # fmt: skip
            seen.page.goto(service.url + path)
            assert seen.violations() == [], path
        seen.page.set_viewport_size({"width": 390, "height": 800})
        for path in ("/", "/?view=table", "/generations/gen-done"):
            seen.page.goto(service.url + path)
            wide = seen.page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, path


def test_search_filters_sort_columns_and_views_are_one_url_with_a_json_twin(
    browser: Browser, service: Served
) -> None:
    with visit(browser, service) as seen:
        page = seen.page
        page.locator("#q").fill("lake sta")
        options = page.locator("#q-completions option")
        expect(options).to_have_count(1)
        expect(options).to_have_attribute("value", "lake state:")
        page.locator("#q").fill("lake state:completed")
        page.locator("#q").press("Enter")
        expect(page.locator(".row")).to_have_count(1)
        assert "q=lake+state" in page.url
        twin = page.locator("#json").get_attribute("href") or ""
        assert [each["id"] for each in service.http.get(twin).json()["items"]] == ["gen-done"]

        page.locator("#q").fill("lake stat:completed")
        page.locator("#q").press("Enter")
        shown = page.locator(".query-error pre")
        expect(shown).to_have_text("lake stat:completed\n     ^")
        expect(page.locator(".query-error")).to_contain_text("did you mean state?")
        expect(page.locator("#q")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#q")).to_have_value("lake stat:completed")
        page.locator("#q").fill("")
        page.locator("#q").press("Enter")
        expect(page.locator(".row")).to_have_count(30)
        expect(page.locator("#q")).not_to_have_attribute("aria-invalid", "true")

        page.get_by_label("Created").select_option("-24h")
        expect(page.locator(".row")).to_have_count(5)
        page.get_by_label("Order").select_option("created_at")
        expect(page.locator(".row").first).to_have_attribute("data-part", "g-gen-dead")
        page.get_by_role("link", name="Table").click()
        expect(page.locator("tr.row")).to_have_count(5)
        page.get_by_text("Columns", exact=True).first.click()
        page.get_by_label("upstream").check()
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("columnheader", name="Upstream")).to_be_visible()
        page.locator(".chip", has_text="failed").click()
        expect(page.locator("tr.row")).to_have_count(1)
        expect(page.locator(".chip", has_text="failed")).to_have_attribute("aria-current", "true")
        assert [p for p in seen.problems if "Failed to load" not in p] == []


def test_counts_are_those_of_all_data(browser: Browser, service: Served) -> None:
    with visit(browser, service, "/?q=lake") as seen:
        expect(seen.page.locator(".chip", has_text="failed")).to_have_text(
            re.compile(r"✕\s+failed\s+1")
        )
        completed = service.http.get("/v1/generations?state=completed&limit=200").json()["items"]
        expect(seen.page.locator(".chip", has_text="completed")).to_contain_text(
            str(len(completed))
        )


def ids(html: str) -> list[str]:
    return re.findall(r'data-part="g-([^"]+)"', html)


@pytest.mark.thorough
def test_older_and_newer_walk_the_list_without_scripts_and_neither_skip_nor_repeat(
    browser: Browser, service: Served
) -> None:
    everything = [
        each["id"] for each in service.http.get("/v1/generations?limit=200").json()["items"]
    ]
    with visit(browser, service, "/?limit=20", java_script_enabled=False) as seen:
        page = seen.page
        pages = [ids(page.content())]
        while page.get_by_role("link", name="Older").count():
            page.get_by_role("link", name="Older").click()
            pages.append(ids(page.content()))
        assert [each for page_ids in pages for each in page_ids] == everything
        for expected in pages[-2::-1]:
            page.get_by_role("link", name="Newer").click()
            assert ids(page.content()) == expected
        expect(page.get_by_role("link", name="Newer")).to_have_count(0)


def test_without_scripts_everything_can_be_read(browser: Browser, service: Served) -> None:
    with visit(browser, service, java_script_enabled=False) as seen:
        page = seen.page
        expect(page.locator('[data-part="g-gen-done"] a.asset')).to_have_attribute(
            "href", f"{MEDIA}/1/result.mp4"
        )
        page.locator("#q").fill("moderation")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="a film of gen-failed").click()
        expect(page.locator("main")).to_contain_text("Failed: <b>Frame</b> moderation failed")
        page.locator("summary", has_text="Raw JSON").click()
        expect(page.locator('[data-part="raw"] pre')).to_be_visible()
        for word in ("Live", "Theme", "Copy"):
            expect(page.get_by_role("button", name=word)).to_have_count(0)
        page.get_by_role("button", name="Refresh").click()
        expect(page.locator("h1")).to_contain_text("gen-failed")
        assert seen.asked == []


def test_a_generation_has_one_timeline_with_bodies_and_texts_to_copy(
    browser: Browser, service: Served
) -> None:
    with visit(browser, service, "/generations/gen-done") as seen:
        page = seen.page
        expect(page.locator("video")).to_have_attribute("src", f"{MEDIA}/1/result.mp4")
        expect(page.locator("video")).to_have_attribute("preload", "none")
        line = page.locator(".timeline")
        for text in (
            *("First seen: dreaming", "dreaming → completed", "Callback: completed"),
            *("It lost: a higher state was known already.", "Told by a callback"),
        ):
            expect(line).to_contain_text(text)
        callback = line.locator(".entry-callback").first
        callback.locator("summary").click()
        expect(callback.locator("pre")).to_contain_text('"state": "dreaming"')
        raw = callback.get_by_role("link").get_attribute("href") or ""
        assert service.http.get(raw).json()["generation_id"] == "gen-done"
        assert "/callbacks/" not in page.content()
        for name, text in (
            ("curl", f"{service.url}/v1/generations/gen-done"),
            ("Python SDK", "client.generations.get"),
            ("Command line", "luma-tracker get gen-done"),
            ("MCP", '"get_generation"'),
        ):
            page.locator("summary", has_text=name).click()
            expect(page.locator(".snippet", has_text=name)).to_contain_text(text)
        assert seen.problems == []
        assert not any(url.endswith(".mp4") for url in seen.asked)


def test_what_luma_or_a_prompt_says_is_text(browser: Browser, service: Served) -> None:
    with visit(browser, service) as seen:
        page = seen.page
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        expect(page.locator('[data-part="g-gen-script"] .title')).to_contain_text(
            "<script>alert(1)"
        )
        assert len(page.locator('[data-part="g-gen-long"] .title').inner_text()) < 200
        for path in ("/", "/?view=table", "/generations/gen-script"):
            page.goto(service.url + path)
            html = page.content()
            assert "javascript:" not in re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL)
            assert (
                "49"
                not in page.locator("bdi, .prompt").filter(has_text="script").first.inner_text()
            )
            assert "\x07" not in html
        expect(page.locator(".prompt")).to_contain_text("<img src=x onerror=alert(1)>")
        expect(page.locator("video, .player img")).to_have_count(0)
        page.goto(f"{service.url}/generations/gen-long")
        assert len(page.locator(".prompt").inner_text()) > 9_000
        assert [p for p in seen.problems if "Failed to load" not in p] == []


def test_errors_are_pages(browser: Browser, service: Served) -> None:
    with visit(browser, service, "/generations/no-such-generation") as seen:
        expect(seen.page.locator("main")).to_contain_text("no-such-generation")
        assert seen.violations() == []
        for path in ("/?cursor=x", "/?colour=red", "/?created_after=soon", "/generations/a%20b"):
            answer = service.http.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (
                422,
                "text/html; charset=utf-8",
            ), path


@pytest.mark.thorough
def test_the_keyboard_is_enough(browser: Browser, service: Served) -> None:
    with visit(browser, service) as seen:
        page = seen.page
        expect(page.locator("[data-live-word]")).to_have_text("Live")
        page.keyboard.press("/")
        expect(page.locator("#q")).to_be_focused()
        page.keyboard.type("j?")
        expect(page.locator("#q")).to_have_value("j?")
        page.keyboard.press("Escape")
        expect(page.locator("#q")).not_to_be_focused()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        assert seen.violations() == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        rows = page.locator("[data-row]")
        for key, number in (("j", 0), ("j", 1), ("k", 0), ("k", 0), ("j", 1)):
            page.keyboard.press(key)
            expect(rows.nth(number)).to_be_focused()
        outline = rows.nth(1).evaluate("(e) => getComputedStyle(e).outlineStyle")
        assert outline == "solid"
        target = rows.nth(1).get_attribute("href") or ""
        page.keyboard.press("Enter")
        expect(page).to_have_url(service.url + target)
        theme = page.locator("[data-theme-switch]")
        for name in ("light", "dark"):
            theme.click()
            expect(page.locator("html")).to_have_attribute("data-theme", name)
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.thorough
def test_rows_and_details_follow_what_happens_also_over_a_restart_unless_paused(
    browser: Browser, tmp_path: Path
) -> None:
    with served(tmp_path) as service:
        service.tell("live", "queued")
        with visit(browser, service) as seen, visit(browser, service, "/generations/live") as other:
            page, detail = seen.page, other.page
            row, word = page.locator('[data-part="g-live"]'), page.locator("[data-live-word]")
            expect(word).to_have_text("Live")
            page.locator("[data-row]").focus()
            service.tell("live", "dreaming")
            expect(row).to_contain_text("dreaming")
            expect(page.locator("[data-row]")).to_be_focused()
            expect(page.locator(".chip", has_text="dreaming")).to_contain_text("1")
            expect(detail.locator("header .state")).to_contain_text("dreaming")

            service.tell("second", "queued", age=1)
            expect(page.locator("[data-news]")).to_have_text("1 new")
            expect(page.locator(".row")).to_have_count(1)
            page.locator("[data-news] a").click()
            expect(page.locator(".row")).to_have_count(2)
            expect(word).to_have_text("Live")

            service.stop()
            expect(word).to_have_text("Reconnecting")
            service.start()
            service.tell("live", "completed")
            expect(row).to_contain_text("completed")
            expect(word).to_have_text("Live")

            page.locator("[data-live-switch]").click()
            expect(word).to_have_text("Paused")
            service.tell("live", "completed", assets={"image": f"{MEDIA}/live.jpg"})
            expect(detail.locator(".player img")).to_be_visible()
            expect(detail.locator(".timeline")).to_contain_text("dreaming → completed")
            expect(row.locator("img")).to_have_count(0)
            page.locator("[data-live-switch]").click()
            expect(row.locator("img")).to_be_visible()
            assert page.locator("[hx-sse\\:connect]").count() == 1


def test_every_page_forbids_what_it_does_not_need(service: Served) -> None:
    for path in ("/", "/generations/gen-done", "/generations/unknown-one", "/?q=stat:x"):
        headers = service.http.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src 'self';" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_answers_are_compressed_for_who_takes_that(service: Served) -> None:
    with service.http.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert b"<h1" in gzip.decompress(raw)
    plain = httpx.get(service.url, headers={"Accept-Encoding": "identity"}, trust_env=False)
    assert "content-encoding" not in plain.headers


def run_copies(page: Page, generation_id: str) -> None:
    """Run what can be copied: it finds the generation."""
    texts = page.locator(".snippet code")
    curl, sdk = texts.filter(has_text="curl"), texts.filter(has_text="lumaai")
    command = ["/bin/sh", "-c", f"{curl.text_content()} -s"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert f'"id":"{generation_id}"' in printed.stdout
    program = [sys.executable, "-c", sdk.text_content() or ""]
    printed = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert generation_id in printed.stdout, printed.stderr


@pytest.mark.thorough
def test_creates_and_webhooks_are_on_the_timeline_and_parents_in_the_lineage(
    browser: Browser, tmp_path: Path
) -> None:
    with Simulator(clock=ManualClock()).running() as luma:
        more = {
            "luma_api_key": "luma-key",
            "dream_machine_url": luma.dream_machine_url,
            "webhook_allow": "127.0.0.0/8",
            "webhook_secret": f"whsec_{base64.b64encode(bytes(32)).decode()}",
        }
        with served(tmp_path, **more) as service:
            hook = {"url": f"{luma.dream_machine_url}/nowhere"}
            webhook = service.http.post("/v1/webhooks", json=hook).json()
            create = "/dream-machine/v1/generations"
            first = service.http.post(create, json={"model": "ray-2", "prompt": "a lake"}).json()
            upscale = f"{create}/{first['id']}/upscale"
            second = service.http.post(upscale, json={"resolution": "4k"}).json()
            attempts = f"/v1/webhooks/{webhook['id']}/attempts"
            until(lambda: second["id"] in service.http.get(attempts).text)
            with visit(browser, service, f"/generations/{second['id']}") as seen:
                page = seen.page
                expect(page.locator(".timeline")).to_contain_text("Created through the gateway")
                expect(page.locator(".timeline")).to_contain_text("accepted with 20")
                expect(page.locator(".timeline")).to_contain_text("Webhook sent: queued")
                sent = page.locator(".entry-webhook").first
                sent.locator("summary").click()
                expect(sent.locator("pre")).to_contain_text('"type": "generation.queued"')
                run_copies(page, second["id"])
                assert seen.violations() == []
                page.locator(".tree").get_by_role("link").click()
                expect(page).to_have_url(f"{service.url}/generations/{first['id']}")
                expect(page.locator(".tree")).to_contain_text("upscale video")
                host = urlsplit(luma.dream_machine_url).netloc
                media = f"img-src 'self' https: http://{host};"
                assert media in service.http.get("/").headers["content-security-policy"]
