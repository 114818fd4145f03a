"""`/docs` and `/redoc`: complete without the internet, under a strict policy."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

import service.web
from service.config import Settings
from tests.web.api.test_generations import client_of

pytestmark = pytest.mark.either_database

STATIC = Path(service.web.__file__).parent / "static"
PAGES = ["/docs", "/redoc"]
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


class Page(HTMLParser):
    """What a page loads and links to, and what it has inline."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.inline: list[str] = []
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._open = tag
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        for name in ("src", "href"):
            if name in given:
                (self.linked if tag == "a" else self.loaded).append(given[name] or "")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(settings) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_loads_only_what_is_served_here(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    page = Page(answer.text)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.inline == []
    assert not re.search(r"//", answer.text), "refers to another host"
    files = [each for each in page.loaded if each != "data:,"]
    assert files
    for file in files:
        asset = await http.get(f"/{file}")
        assert asset.status_code == 200, file
        assert asset.headers["content-type"] == TYPES[Path(file).suffix]
        assert asset.headers["x-content-type-options"] == "nosniff"
        assert asset.content == (STATIC / Path(file).name).read_bytes()


@pytest.mark.parametrize("path", PAGES)
async def test_the_policy_of_a_page_allows_nothing_inline_and_no_other_host(
    http: httpx.AsyncClient, path: str
) -> None:
    policy = (await http.get(path)).headers["content-security-policy"]
    directives = dict(each.strip().split(" ", 1) for each in policy.split(";"))

    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*|blob:", policy)
    assert directives["default-src"] == "'none'"
    assert directives["frame-ancestors"] == "'none'"
    assert directives["script-src"] in ("'self'", "'none'")
    styles = directives["style-src"].split()
    assert all(each == "'self'" or each.startswith("'sha256-") for each in styles)
    assert path == "/redoc" or styles == ["'self'"]


async def test_errors_of_a_page_keep_the_policy_of_everything_else(settings: Settings) -> None:
    async with client_of(settings, api_tokens="a-token") as guarded:
        policies = {
            (await guarded.get(path)).headers["content-security-policy"]
            for path in [*PAGES, "/static/docs.js", "/healthz"]
        }

    assert policies == {"default-src 'none'; frame-ancestors 'none'"}


async def test_the_scripts_know_no_other_host_to_load_from(http: httpx.AsyncClient) -> None:
    redoc = (await http.get("/static/redoc.standalone.js")).text
    assert "cdn.redoc.ly" not in redoc
    assert "validatorUrl: null" in (await http.get("/static/docs.js")).text
    assert "disableSearch: true" in (await http.get("/static/redoc.js")).text


async def test_scripts_and_pages_are_revalidated_by_their_etag(http: httpx.AsyncClient) -> None:
    for path in [*PAGES, "/static/swagger-ui-bundle.js"]:
        first = await http.get(path)
        again = await http.get(path, headers={"If-None-Match": first.headers["etag"]})

        assert first.headers["cache-control"] == "no-cache"
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]


async def test_head_is_answered_as_get(http: httpx.AsyncClient) -> None:
    for path in [*PAGES, "/static/swagger-ui.css"]:
        head, full = await http.head(path), await http.get(path)

        assert (head.status_code, head.headers) == (200, full.headers)


@pytest.mark.parametrize(
    "name",
    ["nope.js", "README.md", "index.html", "swagger-ui.LICENSE", "..%2fproblems.py", ".", ""],
)
async def test_nothing_else_is_served_as_a_file(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.get(f"/static/{name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_pages_and_files_are_readable_with_a_token_alone_where_tokens_are_set(
    settings: Settings,
) -> None:
    bearer = {"Authorization": "Bearer a-token"}
    async with client_of(settings, api_tokens="ro:a-token") as guarded:
        for path in [*PAGES, "/static/docs.js"]:
            assert (await guarded.get(path)).status_code == 401
            assert (await guarded.get(path, headers=bearer)).status_code == 200


async def test_without_tokens_a_foreign_name_reads_no_page(http: httpx.AsyncClient) -> None:
    for path in [*PAGES, "/static/docs.js"]:
        assert (await http.get(path, headers={"Host": "other.example"})).status_code == 421


async def test_pages_are_no_part_of_the_description(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]

    assert not {*PAGES, "/static/{name}"} & paths.keys()


def test_licenses_are_beside_what_is_vendored() -> None:
    names = {path.name for path in STATIC.iterdir()}

    assert {"swagger-ui.LICENSE", "swagger-ui.NOTICE", "redoc.LICENSE"} <= names
    assert "Apache License" in (STATIC / "swagger-ui.LICENSE").read_text()
    assert "MIT" in (STATIC / "redoc.LICENSE").read_text()
