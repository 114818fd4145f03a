"""Every error of every route is RFC 9457 problem+json that says what was wrong."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from service.simulator import Fault
from tests.acceptance.conftest import SIGNING, Running, run_service
from tests.acceptance.talk import call_back, eventually, new_id, problem_in, told
from tests.databases import at, curse, lift

pytestmark = pytest.mark.either_database

MIB = 1024 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def described(running: Running) -> dict[str, dict[str, Any]]:
    """Every path of the API, and what can be done with it."""
    headers = {"Authorization": "Bearer token"}
    paths: dict[str, dict[str, Any]] = running.http.get("/openapi.json", headers=headers).json()
    return paths["paths"]


def filled(path: str) -> str:
    """A path with something in the place of its parameters."""
    return re.sub(r"\{\w+_id\}", new_id(), path.replace("{token}", "wrong"))


def of_something(running: Running) -> Callable[[str], str]:
    """Fills a path in with a generation, a delivery, a submission and a webhook that there are."""
    generation_id = told(running)
    inbox = running.http.get("/v1/deliveries", params={"generation_id": generation_id})
    [delivery] = inbox.json()["items"]
    body = {"prompt": "a lake", "model": "ray-2"}
    created = running.http.post("/dream-machine/v1/generations/video", json=body)
    webhook = running.http.post("/v1/webhooks", json={"url": "https://hooks.example/"}).json()
    ids = {
        "{generation_id}": generation_id,
        "{delivery_id}": delivery["id"],
        "{submission_id}": created.headers["x-submission-id"],
        "{webhook_id}": webhook["id"],
    }
    return lambda path: re.sub(r"\{\w+\}", lambda found: ids.get(found[0], found[0]), path)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    guarded = {"TRACKER_API_TOKENS": "token", **SIGNING}
    with run_service(tmp_path_factory.mktemp("guarded"), **guarded) as running:
        yield running


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    ["/nope", "/v1", "/v1/", "/v1/nope", "/v1/generations/", "/v1/generations/a/b", "//",
     "/v1//generations", "/callbacks", "/mcp/", "/mcp/x", "/healthz/", "/docs/"],
)  # fmt: skip
def test_a_route_that_there_is_not_is_404_and_never_a_redirect(
    shared: Running, method: str, path: str
) -> None:
    answer = shared.http.send(httpx.Request(method, f"{shared.service.url}{path}"))

    if method == "HEAD":
        assert (answer.status_code, answer.content) == (404, b"")
        assert answer.headers["content-type"] == "application/problem+json"
    else:
        problem_in(answer, 404)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_a_route_does_not_have_is_405_and_names_those_it_has(
    shared: Running, method: str
) -> None:
    for path, operations in described(shared).items():
        allowed = {name.upper() for name in operations}
        if method in allowed or (method == "HEAD" and "GET" in allowed):
            continue
        answer = shared.http.request(method, filled(path))

        assert answer.status_code == 405, f"{method} {path}"
        assert answer.headers["content-type"] == "application/problem+json"
        named = {name.strip() for name in answer.headers["allow"].split(",")}
        assert named - {"HEAD"} == allowed
        if method != "HEAD":
            problem_in(answer, 405)


def test_head_is_answered_wherever_get_is(shared: Running) -> None:
    real = of_something(shared)

    def alike(address: str) -> bool:
        head, full = shared.http.head(address), shared.http.get(address)
        assert head.status_code == full.status_code == 200, address
        assert head.content == b""
        assert head.headers["content-type"] == full.headers["content-type"]
        return head.headers["content-length"] == full.headers["content-length"]

    for path, operations in described(shared).items():
        if "{name}" in path:  # an asset that is not kept is redirected
            continue
        if "get" in operations:  # lists and counts may change between the two questions
            eventually(partial(alike, real(path)), f"HEAD {path} is as long as GET")


def test_head_of_what_cannot_be_had_has_the_status_and_no_body(shared: Running) -> None:
    for path, status in (
        (f"/v1/generations/{new_id()}", 404),
        ("/v1/generations/a%20b", 422),
        ("/v1/generations?nope=1", 422),
    ):
        answer = shared.http.head(path)

        assert answer.status_code == status
        assert answer.content == b""
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_parameter_is_422_on_every_route_of_the_api(shared: Running) -> None:
    real = of_something(shared)
    for path, operations in described(shared).items():
        if not path.startswith("/v1/"):
            continue
        for method in operations:
            answer = shared.http.request(method, real(path), params={"no_such": "1"})

            problem = problem_in(answer, 422)
            assert "no_such" in problem["detail"]
            assert any("no_such" in json.dumps(field) for field in problem["errors"])


def test_a_problem_says_what_kind_it_is_what_was_wrong_and_what_to_do(shared: Running) -> None:
    upstream_down = new_id()
    shared.luma.fault(Fault(status=503, path=upstream_down, times=None))
    refused = new_id()
    shared.luma.fault(Fault(status=401, path=refused, times=None))
    answers = {
        404: shared.http.get(f"/v1/generations/{new_id()}"),
        422: shared.http.get("/v1/generations/a%20b"),
        502: shared.http.get(f"/v1/generations/{refused}"),
        503: shared.http.get(f"/v1/generations/{upstream_down}"),
    }
    problems = {status: problem_in(answer, status) for status, answer in answers.items()}

    assert len({problem["type"] for problem in problems.values()}) == len(problems)
    for problem in problems.values():
        assert problem["hint"]
        assert "Traceback" not in problem["detail"]


def test_the_same_kind_of_problem_has_the_same_type_everywhere(shared: Running) -> None:
    many = [
        problem_in(shared.http.get(path), 422)
        for path in (
            "/v1/generations/a%20b",
            "/v1/generations/a%20b/events",
            "/v1/generations?limit=0",
            "/v1/generations?cursor=x",
        )
    ]

    assert len({(problem["type"], problem["title"]) for problem in many}) == 1


def test_callbacks_that_are_refused_are_problems_too(shared: Running) -> None:
    problem_in(call_back(shared, b"nonsense"), 422)
    problem_in(call_back(shared, b"x" * (MIB + 1)), 413)
    problem_in(shared.http.post("/callbacks/wrong", json={}), 404)


def test_without_a_token_every_guarded_route_is_401(guarded: Running) -> None:
    for path, operations in described(guarded).items():
        if path.startswith("/callbacks/") or path in ("/healthz", "/readyz"):
            continue
        for method in operations:
            answer = guarded.http.request(method, filled(path))

            problem_in(answer, 401)
            assert "Bearer" in answer.headers["www-authenticate"]


def test_whom_we_do_not_know_is_not_told_which_routes_there_are(guarded: Running) -> None:
    there = problem_in(guarded.http.get("/v1/generations"), 401)
    not_there = problem_in(guarded.http.get("/nope"), 401)

    assert there == not_there


def test_a_foreign_name_and_a_foreign_page_are_problems(shared: Running) -> None:
    problem_in(shared.http.get("/v1/generations", headers={"Host": "other.example"}), 421)
    problem_in(shared.http.post("/mcp", headers={"Origin": "https://other.example"}), 403)


@pytest.mark.parametrize(
    "target",
    ["/v1/generations/" + "x" * 20_000, "/v1/generations?q=" + "x" * 20_000, "/%00", "/%ff%fe"],
    ids=lambda target: target[:24],
)
def test_an_address_that_makes_no_sense_is_refused_calmly(shared: Running, target: str) -> None:
    answer = shared.http.get(target)

    assert answer.status_code in (404, 414, 422)
    problem_in(answer, answer.status_code)


# The gateway, whose callers expect the errors of Luma's APIs


@pytest.mark.parametrize("api", ["/dream-machine/v1", "/agents/v1"])
def test_every_error_below_the_gateway_is_in_lumas_form(
    shared: Running, guarded: Running, api: str
) -> None:
    down, nonsense = new_id(), new_id()
    shared.luma.fault(Fault(status=500, path=down, times=None))
    shared.luma.fault(Fault(body=b"<html>", path=nonsense, times=None))
    key = {"Idempotency-Key": "x" * 300}
    answers = {
        (401, "no token"): guarded.http.get(f"{api}/ping"),
        (403, "another page"): shared.http.post(api, headers={"Origin": "https://x.example"}),
        (404, "an unknown id"): shared.http.get(f"{api}/generations/{new_id()}"),
        (404, "no such path"): shared.http.get(f"{api}/x/%2e%2e/y"),
        (404, "the base"): shared.http.get(api),
        (405, "no such method"): shared.http.request("TRACE", f"{api}/ping"),
        (414, "too long"): shared.http.get(f"{api}/{'x' * 40_000}"),
        (421, "another name"): shared.http.get(f"{api}/ping", headers={"Host": "x.example"}),
        (422, "a long key"): shared.http.post(f"{api}/generations", json={}, headers=key),
        (502, "nonsense"): shared.http.get(f"{api}/generations/{nonsense}"),
        (503, "down"): shared.http.get(f"{api}/generations/{down}"),
    }

    for (status, what), answer in answers.items():
        assert answer.status_code == status, what
        assert answer.headers["content-type"] == "application/json", what
        assert [*answer.json()] == ["detail"], what
    eventually(lambda: shared.http.get("/dream-machine/v1/ping").is_success, "Luma is well again")


def test_an_error_that_nobody_foresaw_is_in_the_form_of_its_route(guarded: Running) -> None:
    headers = {"Authorization": "Bearer token"}
    with at(guarded.database) as database:
        curse(database)
    url = guarded.service.url
    answers = {
        base: httpx.get(f"{url}{base}/generations/{guarded.luma.create()}", headers=headers)
        for base in ("/v1", "/dream-machine/v1")
    }
    with at(guarded.database) as database:
        lift(database)

    problem_in(answers["/v1"], answers["/v1"].status_code)
    assert answers["/v1"].status_code == answers["/dream-machine/v1"].status_code >= 500
    assert [*answers["/dream-machine/v1"].json()] == ["detail"]


def test_errors_are_not_to_be_cached_as_answers(shared: Running) -> None:
    answer = shared.http.get(f"/v1/generations/{new_id()}")

    assert "etag" not in answer.headers
    assert "max-age" not in answer.headers.get("cache-control", "")
