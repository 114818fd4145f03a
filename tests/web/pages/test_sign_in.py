"""Sessions: who may see and write, for how long, and what no other site can do with them."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, expect

from service.web.guards.authentication import Authenticator
from service.web.guards.sessions import COOKIE
from tests.web.pages.conftest import Served, served, visit

pytestmark = pytest.mark.either_database

ALL, READS = "all-powerful", "only-reads"
HTML = {"Accept": "text/html,*/*"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with a token that may do everything, and one that only reads."""
    folder = tmp_path_factory.mktemp("tokens")
    with served(folder, api_tokens=f"{ALL},ro:{READS}") as service:
        service.tell("gen-1", "dreaming")
        yield service


@pytest.fixture
def someone(service: Served) -> Iterator[httpx.Client]:
    """A browser's worth of HTTP, without a session."""
    with httpx.Client(base_url=service.url, trust_env=False, headers=HTML) as client:
        yield client


def signed_in(someone: httpx.Client, token: str, to: str = "/") -> httpx.Response:
    return someone.post("/sign-in", data={"token": token, "next": to})


def csrf_of(someone: httpx.Client) -> str:
    found: list[str] = re.findall(r'name="csrf_token" value="([^"]+)"', someone.get("/").text)
    return found[0]


def test_people_sign_in_see_everything_live_write_and_sign_out(
    browser: Browser, service: Served
) -> None:
    with visit(browser, service, "/generations/gen-1?x=1") as seen:
        page = seen.page
        expect(page).to_have_url(f"{service.url}/sign-in?next=/generations/gen-1%3Fx%3D1")
        assert seen.violations() == []
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("This token is not accepted.")
        assert seen.violations() == []
        page.get_by_label("Token").fill(ALL)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{service.url}/generations/gen-1?x=1")
        expect(page.locator("[data-live-word]")).to_have_text("Live")
        page.get_by_role("button", name="Refresh").click()
        expect(page).to_have_url(f"{service.url}/generations/gen-1")
        page.get_by_role("link", name="JSON").click()
        expect(page.locator("body")).to_contain_text('"id":"gen-1"')
        page.goto(f"{service.url}/docs")
        expect(page.locator("#swagger-ui")).to_contain_text("luma-tracker")
        page.goto(service.url)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto(service.url)
        expect(page.get_by_label("Token")).to_be_visible()


def test_the_cookie_is_for_this_site_alone_and_does_not_contain_the_token(
    someone: httpx.Client,
) -> None:
    sent = signed_in(someone, ALL).headers["set-cookie"]
    assert sent.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(sent.split("; "))
    assert "Secure" not in sent
    assert ALL not in sent
    secure = someone.post(
        "/sign-in",
        data={"token": ALL},
        headers={"Origin": "https://tracker.example", "Host": "tracker.example"},
    )
    assert "Secure" in secure.headers["set-cookie"].split("; ")


def test_readers_see_and_do_not_write(someone: httpx.Client) -> None:
    signed_in(someone, READS)
    page = someone.get("/generations/gen-1")
    assert page.status_code == 200
    assert "Refresh" not in page.text
    token = {"csrf_token": csrf_of(someone)}
    assert someone.post("/generations/gen-1/refresh", data=token).status_code == 403
    assert someone.post("/sign-out", data=token).status_code == 303
    assert someone.get("/").status_code == 303


def test_a_write_of_a_session_carries_its_csrf_token_everywhere(someone: httpx.Client) -> None:
    signed_in(someone, ALL)
    token = csrf_of(someone)
    path, rest = "/generations/gen-1/refresh", "/v1/deliveries/none/replay"
    for data in ({}, {"csrf_token": ""}, {"csrf_token": token[:-1]}, {"csrf_token": "é"}):
        assert someone.post(path, data=data).status_code == 403
    assert someone.post(path, data={"csrf_token": token, "x": "y" * 70_000}).status_code == 403
    assert someone.post(path, json={"csrf_token": token}).status_code == 403
    assert someone.post("/sign-out").status_code == 403
    assert someone.post(path, data={"csrf_token": token}).status_code == 303
    assert someone.post(rest).status_code == 403
    assert someone.post(rest, headers={"X-CSRF-Token": "no"}).status_code == 403
    assert someone.post(rest, headers={"X-CSRF-Token": token}).status_code == 404
    foreign = {"Origin": "https://evil.example", "X-CSRF-Token": token}
    assert someone.post(rest, headers=foreign).status_code == 403
    foreign_sign_in = someone.post(
        "/sign-in", data={"token": ALL}, headers={"Origin": "https://evil.example"}
    )
    assert foreign_sign_in.status_code == 403


def test_programs_send_a_token_not_a_cookie(someone: httpx.Client) -> None:
    signed_in(someone, ALL)
    for path in ("/dream-machine/v1/ping", "/agents/v1/generations/x"):
        assert someone.get(path).status_code == 401
    assert someone.post("/mcp", json={}).status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert someone.get("/", headers=wrong).status_code == 401, "a wrong token is not overlooked"


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"),
        *("/\t/evil.example", "/%09/evil.example\n", "\\\\evil.example", "evil", "", "/a\\..\\b"),
    ],
)
def test_signing_in_leads_to_no_other_site(someone: httpx.Client, target: str) -> None:
    assert signed_in(someone, ALL, target).headers["location"] == "/"
    again = someone.get(f"/sign-in?next={quote(target)}")
    assert (again.status_code, again.headers["location"]) == (303, "/")


def test_only_browsers_that_open_a_page_are_sent_to_sign_in(someone: httpx.Client) -> None:
    page = someone.get("/?q=a+lake&view=table")
    assert page.status_code == 303
    assert page.headers["location"] == "/sign-in?next=/%3Fq%3Da%2Blake%26view%3Dtable"
    assert someone.get("/", headers={"Accept": "application/json"}).status_code == 401
    assert someone.get("/v1/events", headers={"HX-Request": "true"}).status_code == 401
    assert someone.post("/generations/gen-1/refresh").status_code == 401
    assert someone.get("/", headers={"Authorization": f"Bearer {READS}"}).status_code == 200


def test_copies_name_the_token_and_the_public_address_if_that_was_asked(tmp_path: Path) -> None:
    with served(tmp_path, api_tokens=ALL, public_url="https://tracker.example") as service:
        service.tell("gen-1", "dreaming")
        for host, base in (("tracker.example", "https://tracker.example"), (None, service.url)):
            headers = {"Authorization": f"Bearer {ALL}", **({"Host": host} if host else {})}
            page = unescape(service.http.get("/generations/gen-1", headers=headers).text)
            assert f'"Authorization: Bearer $TRACKER_TOKEN" {base}/v1/generations/gen-1' in page
            assert (
                f'base_url="{base}/dream-machine/v1", auth_token=environ["TRACKER_TOKEN"]' in page
            )


def test_wrong_tokens_count_wherever_they_are_tried(tmp_path: Path) -> None:
    with served(tmp_path, api_tokens=ALL) as service:
        statuses = [
            *(signed_in(service.http, f"no-{n}").status_code for n in range(10)),
            *(
                service.http.get("/", headers={"Authorization": f"Bearer no-{n}"}).status_code
                for n in range(10)
            ),
        ]
        assert statuses == [401] * 20
        refused = signed_in(service.http, "one-more")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert "Too many wrong tokens" in refused.text
        assert service.http.get("/", headers={"Authorization": "Bearer x"}).status_code == 429
        assert signed_in(service.http, ALL).status_code == 303


def test_a_session_outlives_a_restart_and_ends_with_its_token(tmp_path: Path) -> None:
    with served(tmp_path, api_tokens=f"{ALL},other") as service:
        signed_in(service.http, ALL)
        for changed, expected in (
            ({}, 200),
            ({"callback_secret": ("a-new-secret", "secret-of-the-tests-of-pages")}, 200),
            ({"api_tokens": ("other",)}, 303),
            ({"callback_secret": ("a-new-secret",)}, 303),
        ):
            service.stop()
            service.start(**changed)
            assert service.http.get("/", headers=HTML).status_code == expected, changed


def test_without_tokens_nobody_signs_in_and_only_programs_here_are_served(tmp_path: Path) -> None:
    with served(tmp_path) as service:
        assert service.http.get("/sign-in").headers["location"] == "/"
        assert service.http.get("/", headers={"Host": "other.example"}).status_code == 421
        foreign = {"Origin": "https://evil.example"}
        refused = service.http.post("/generations/x/refresh", headers=foreign)
        assert refused.status_code == 403
        service.stop()
        service.start(public_url="https://tracker.example")
        for path in ("/", "/sign-in", "/generations/x", "/static/pages/x/pages.css"):
            assert service.http.get(path).status_code == 421, path


@pytest.mark.parametrize("cookie", ["", "x", "x.y.z", "é", "a" * 5000, '"x"'])
def test_no_other_cookie_is_a_session(cookie: str) -> None:
    authenticator = Authenticator([ALL], session_keys=["key"])
    assert authenticator.session_of(cookie) is None
    other = Authenticator([ALL], session_keys=["another key"])
    digest = other.digest_of_token(ALL.encode())
    assert digest
    assert authenticator.session_of(other.cookie_for(digest)) is None
