"""Errors as RFC 9457: one format, the right status, and always serializable."""

import json

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from starlette.responses import Response

from service import errors
from service.config import Settings
from service.web.problems import install, of_error, problem, responses
from tests.web.api.test_generations import client_of


def body_of(response: Response) -> dict[str, object]:
    """Parse the body of a problem."""
    assert response.media_type == "application/problem+json"
    read: dict[str, object] = json.loads(bytes(response.body))
    assert read["status"] == response.status_code
    return read


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidInput("wait", "too long"), 422, "invalid-input"),
        (errors.InvalidQuery("modle:x", 0, "no key"), 422, "invalid-query"),
        (errors.Unreadable("no JSON"), 422, "unreadable"),
        (errors.NotFound("nobody knows it"), 404, "not-found"),
        (errors.UpstreamRefused("agents", "no"), 502, "upstream-refused"),
        (errors.UpstreamNonsense("agents", "what?"), 502, "upstream-nonsense"),
        (errors.UpstreamUnavailable("agents", "later"), 503, "upstream-unavailable"),
        (errors.NotSent("agents", "the budget is spent"), 503, "upstream-unavailable"),
        (errors.NoneFree("agents", "no connection is free"), 503, "upstream-unavailable"),
        (errors.StoreUnavailable("locked"), 503, "store-unavailable"),
    ],
)
def test_each_error_has_its_status_and_a_name_that_stays(
    error: errors.TrackerError, status: int, kind: str
) -> None:
    told = body_of(of_error(error))
    assert (told["status"], told["type"]) == (status, f"urn:luma-tracker:{kind}")
    assert told["detail"] == str(error)
    assert told.get("hint") == (error.hint or None)


def test_what_may_pass_says_when_to_ask_again() -> None:
    def after(seconds: float) -> str:
        error = errors.UpstreamUnavailable("agents", "later", retry_after=seconds)
        return of_error(error).headers["retry-after"]

    assert [after(0.2), after(12.4), after(3600.0)] == ["1", "12", "3600"]
    assert of_error(errors.StoreUnavailable("locked")).headers["retry-after"] == "1"
    assert "retry-after" not in of_error(errors.NotFound("no")).headers


def test_a_wrong_input_is_named() -> None:
    told = body_of(of_error(errors.InvalidInput("cursor", "not ours", "begin anew")))
    assert told["errors"] == [{"loc": ["cursor"], "msg": "not ours"}]
    assert told["hint"] == "begin anew"


def test_a_plain_problem_is_named_after_its_status() -> None:
    told = body_of(problem(413, "too large", headers={"X-Some": "thing"}))
    assert (told["type"], told["title"]) == (
        "urn:luma-tracker:too-large",
        "The request is too large",
    )
    assert set(told) == {"type", "title", "status", "detail"}


def test_routes_document_their_problems() -> None:
    from http import HTTPStatus

    documented = responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
    assert set(documented) == {404, 503}
    assert "application/problem+json" in documented[404]["content"]


@pytest.fixture
def http() -> httpx.AsyncClient:
    """An application whose routes all fail."""
    app = FastAPI()
    install(app)

    @app.get("/ours")
    async def ours() -> None:
        raise errors.NotFound("nobody knows it")

    @app.get("/theirs")
    async def theirs() -> None:
        raise HTTPException(418, "no coffee", headers={"X-Kind": "teapot"})

    @app.get("/bug")
    async def bug() -> None:
        raise LookupError("with a secret in it")

    @app.get("/number/{n}")
    async def number(n: int, m: float = 0) -> float:
        return n + m

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://t")


async def test_errors_of_ours_and_of_the_framework_come_in_one_envelope(
    http: httpx.AsyncClient,
) -> None:
    wanted = {
        "/ours": (404, "urn:luma-tracker:not-found"),
        "/nowhere": (404, "urn:luma-tracker:not-found"),
        "/theirs": (418, "urn:luma-tracker:bad-request"),  # a status without a name of its own
        "/bug": (500, "urn:luma-tracker:unforeseen"),
        "/number/x?m=y": (422, "urn:luma-tracker:invalid-input"),
    }
    for path, (status, kind) in wanted.items():
        answer = await http.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["type"]) == (status, kind), path
        assert answer.json()["title"]


async def test_a_bug_does_not_show_what_it_was_about(http: httpx.AsyncClient) -> None:
    assert "secret" not in (await http.get("/bug")).text


async def test_headers_of_an_error_are_kept(http: httpx.AsyncClient) -> None:
    assert (await http.get("/theirs")).headers["x-kind"] == "teapot"
    answer = await http.post("/ours")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_every_wrong_field_is_named(http: httpx.AsyncClient) -> None:
    told = (await http.get("/number/x?m=y")).json()
    assert [field["loc"] for field in told["errors"]] == [["path", "n"], ["query", "m"]]
    assert "path.n: " in told["detail"]
    assert "query.m: " in told["detail"]


@pytest.mark.either_database
@pytest.mark.parametrize(
    ("target", "suggested"),
    [
        ("/v1/generations?stat=failed", "state"),
        ("/v1/generations?Limit=5", "limit"),
        ("/v1/generations?created_befor=2026", "created_before"),
        ("/v1/generations/some-id?frsh=true", "fresh"),
        ("/v1/generations/some-id/events?cursr=1", "cursor"),
        ("/v1/events?afer=4", "after"),
        ("/v1/deliveries?outcomes=kept", "outcome"),
    ],
)
async def test_an_unknown_parameter_suggests_the_nearest_known_one(
    settings: Settings, target: str, suggested: str
) -> None:
    async with client_of(settings) as client:
        answer = await client.get(target)

    unknown = target.partition("?")[2].partition("=")[0]
    message = f"Unknown parameter. Did you mean `{suggested}`?"
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"loc": ["query", unknown], "msg": message}]
    assert answer.json()["detail"] == f"query.{unknown}: {message}"


@pytest.mark.either_database
@pytest.mark.parametrize(
    "target", ["/v1/generations?zzz=1", "/v1/deliveries/x?anything=1", "/v1/events?access_token=x"]
)
async def test_an_unknown_parameter_that_is_near_to_none_suggests_nothing(
    settings: Settings, target: str
) -> None:
    async with client_of(settings) as client:
        told = (await client.get(target)).json()

    assert [field["msg"] for field in told["errors"]] == ["Unknown parameter."]


@pytest.mark.either_database
async def test_a_browser_gets_a_page_for_an_unknown_path(settings: Settings) -> None:
    async with client_of(settings) as client:
        by_browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        page = await client.get("/generatoins", headers=by_browser)
        told = await client.get("/generatoins")

    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "This page does not exist." in page.text
    assert 'href="/"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert told.headers["content-type"] == "application/problem+json"
