"""Who may use the gateway, what it refuses, and that nothing leads out of Luma's base URLs."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import (
    KEYLESS,
    Running,
    run_service,
)
from tests.acceptance.talk import body_of, call_back, new_id
from tests.hostile import answer_on, ask, connect

pytestmark = pytest.mark.either_database

APIS = ("/dream-machine/v1", "/agents/v1")
ALL, READS = {"Authorization": "Bearer all"}, {"Authorization": "Bearer reads"}
LUMA_KEYS = ("luma-key", "luma-api-key")
ROUTES = ("ping", "generations", "generations/x", "echo", "files", "no/such/route")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("guarded")
    with run_service(folder, TRACKER_API_TOKENS="all,ro:reads") as running:
        yield running


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_service(tmp_path_factory.mktemp("keyless"), **KEYLESS) as running:
        yield running


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service for which nobody listens where Luma should be."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    given = {"TRACKER_DREAM_MACHINE_URL": nobody, "TRACKER_AGENTS_URL": nobody}
    with run_service(tmp_path_factory.mktemp("cut-off"), **given) as running:
        yield running


def refused(answer: httpx.Response, status: int) -> str:
    """What an error in Luma's envelope says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    if answer.request.method == "HEAD":
        return ""
    assert [*answer.json()] == ["detail"]
    return str(answer.json()["detail"])


# Tokens and keys


@pytest.mark.parametrize("method", METHODS)
def test_without_a_token_everything_is_401(guarded: Running, method: str) -> None:
    before = guarded.luma.count()

    for api in APIS:
        for route in ROUTES:
            answer = guarded.http.request(method, f"{api}/{route}")

            assert "token" in refused(answer, 401) or method == "HEAD"
            assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.luma.count() == before


@pytest.mark.parametrize("sent", ["Bearer no", "Bearer allx", "Basic all", "all", "Bearer"])
def test_a_wrong_token_is_401(guarded: Running, sent: str) -> None:
    for api in APIS:
        refused(guarded.http.get(f"{api}/ping", headers={"Authorization": sent}), 401)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_token_that_may_only_read_is_403_on_all_but_get_and_head(
    guarded: Running, api: str, route: str
) -> None:
    for method in METHODS:
        before = guarded.luma.count()

        answer = guarded.http.request(method, f"{api}/{route}", headers=READS)

        if method in ("GET", "HEAD"):
            assert answer.status_code not in (401, 403)
        else:
            assert "read-only" in refused(answer, 403)
            assert guarded.luma.count() == before


def test_the_callers_token_never_reaches_luma(guarded: Running) -> None:
    seen = guarded.http.post("/agents/v1/echo", headers=ALL)

    assert ["authorization", "Bearer luma-api-key"] in seen.json()["headers"]
    for request in guarded.luma.requests:
        assert "Bearer all" not in str(request.headers)
        assert "Bearer reads" not in str(request.headers)


def test_lumas_keys_reach_neither_caller_nor_log(guarded: Running) -> None:
    answers = [
        guarded.http.get(f"{api}/{route}", headers=ALL)
        for api in APIS
        for route in ROUTES
        if route != "echo"  # which tells what it received
    ]

    said = guarded.service.said + "".join(f"{each.headers} {each.text}" for each in answers)
    assert [key for key in LUMA_KEYS if key in said] == []


@pytest.mark.parametrize("sent", ["Bearer sk-anything", "Basic eDp5", "luma-api-key"])
def test_where_no_tokens_are_set_the_callers_bearer_is_ignored(shared: Running, sent: str) -> None:
    seen = shared.http.get("/agents/v1/echo", headers={"Authorization": sent}).json()

    sent_up = [value for name, value in seen["headers"] if name == "authorization"]
    assert sent_up == ["Bearer luma-api-key"]


@pytest.mark.parametrize(
    ("api", "setting"), [(APIS[0], "LUMAAI_API_KEY"), (APIS[1], "LUMA_AGENTS_API_KEY")]
)
def test_without_a_key_everything_is_401_and_names_the_setting(
    keyless: Running, api: str, setting: str
) -> None:
    known = body_of(new_id())
    call_back(keyless, known)
    for route in (*ROUTES, f"generations/{known['id']}"):
        for method in METHODS:
            detail = refused(keyless.http.request(method, f"{api}/{route}"), 401)

            assert setting in detail or method == "HEAD"
    assert keyless.luma.count() == 0


def test_a_key_for_one_api_is_none_for_the_other(tmp_path_factory: Any) -> None:
    given = {"LUMA_AGENTS_API_KEY": ""}
    with run_service(tmp_path_factory.mktemp("one-key"), **given) as running:
        assert running.http.get("/dream-machine/v1/ping").status_code == 200
        assert "LUMA_AGENTS_API_KEY" in refused(running.http.get("/agents/v1/files"), 401)


def test_too_many_wrong_tokens_are_429(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("wrong")
    with run_service(folder, TRACKER_API_TOKENS="all") as running:
        for n in range(20):
            wrong = {"Authorization": f"Bearer {n}"}
            refused(running.http.get("/agents/v1/files", headers=wrong), 401)

        answer = running.http.get("/agents/v1/files", headers=wrong)

        assert "wrong tokens" in refused(answer, 429)
        assert int(answer.headers["retry-after"]) > 0
        assert running.http.get("/agents/v1/files", headers=ALL).status_code == 200


def test_other_names_and_other_pages_are_refused_as_elsewhere(shared: Running) -> None:
    for api in APIS:
        url = f"{api}/ping"
        refused(shared.http.get(url, headers={"Host": "tunnel.example"}), 421)
        refused(shared.http.get(url, headers={"X-Forwarded-For": "203.0.113.9"}), 421)
        refused(shared.http.post(url, headers={"Origin": "https://evil.example"}), 403)
    assert shared.http.get("/dream-machine/v1/ping").status_code == 200


# Luma is down


def test_with_luma_down_what_is_not_stored_is_502_or_503(cut_off: Running) -> None:
    for api in APIS:
        for method, route in (
            *(("GET", each) for each in ("ping", f"generations/{new_id()}", "files/1")),
            *(("POST", "files"), ("DELETE", f"generations/{new_id()}"), ("PUT", "x")),
        ):
            answer = cut_off.http.request(method, f"{api}/{route}")

            assert refused(answer, 503)
            assert int(answer.headers["retry-after"]) > 0


def test_with_luma_down_what_is_stored_is_answered(cut_off: Running) -> None:
    known = body_of(new_id(), "completed")
    call_back(cut_off, known)

    answer = cut_off.http.get(f"/dream-machine/v1/generations/{known['id']}")
    listed = cut_off.http.get("/dream-machine/v1/generations?limit=1")

    assert answer.json() == known
    assert listed.json()["generations"] == [known]
    assert listed.headers["cache-status"] == "luma-tracker; hit; detail=upstream-down"


# Paths


OUT = [
    *("..", "../agents/v1/files", "generations/..", "generations/../../x", "x/./y", ".", "./x"),
    *("%2e%2e/x", "%2E%2E", "x/%2e%2e/y", ".%2e/x", "%2e", "x%2f..%2fy", "x/..%2f..%2fy"),
    *("%252e%252e/x", "%25252e%25252e/x", "%2525252e/x", "%255c", "%25255c"),
    *("..\\x", "x\\..\\y", "x%5c..%5cy", "%5c", "/x", "//evil.example/", "%2fx", "%252fx"),
    *("x%00", "%00", "x%0d%0aHost:%20evil", "%0a", "x%7f", "x%2500"),
]


@pytest.mark.parametrize("path", OUT)
def test_no_path_leads_out_of_the_base(shared: Running, path: str) -> None:
    before = shared.luma.count()

    for api in APIS:
        for method in ("GET", "POST", "DELETE"):
            answer = ask(shared.service.url, f"{api}/{path}", b"Content-Length: 0", method=method)

            assert answer.status in (400, 404), (answer.status, answer.body)
            assert set(answer.headers) >= {"content-type"}
    assert shared.luma.count() == before


@pytest.mark.parametrize(
    "target",
    [
        b"http://evil.example/agents/v1/echo",
        b"http://127.0.0.1/agents/v1/echo",
        b"/agents/v1/echo#/../../x",
        b"/agents/v1/echo?to=http://evil.example/../..",
    ],
)
def test_whatever_the_form_of_the_target_only_its_path_counts(
    shared: Running, target: bytes
) -> None:
    answer = ask(shared.service.url, target)

    assert answer.status == 200
    assert b'"path":"/agents/v1/echo"' in answer.body
    assert b"evil.example" not in answer.body.partition(b'"query"')[0]


@pytest.mark.parametrize("path", ["", "/", "/..", "x", "2"])
@pytest.mark.parametrize("api", APIS)
def test_near_the_base_there_is_nothing(shared: Running, api: str, path: str) -> None:
    answer = shared.http.send(httpx.Request("GET", f"{shared.service.url}{api}{path}"))

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("echo/" + "x" * 20_000, {200}),
        ("echo?" + "x" * 20_000, {200}),
        ("generations/" + "x" * 20_000, {404}),
        ("echo/" + "x" * 40_000, {414}),
        ("echo?" + "x" * 40_000, {414}),
        ("echo/" + "x" * 80_000, {431}),
        ("echo/%" + "25" * 10_000, {404}),  # encoded ten thousand times
    ],
    ids=lambda value: str(value)[:14],
)
def test_a_very_long_path_is_taken_or_refused(
    shared: Running, path: str, statuses: set[int]
) -> None:
    answer = ask(shared.service.url, f"/agents/v1/{path}")

    assert answer.status in statuses


def test_a_create_cannot_pass_by_another_spelling_of_its_path(shared: Running) -> None:
    """Each create is journaled, so that it goes to Luma at most once."""
    body = {"model": "ray-2", "prompt": "a lake at sunset"}
    for path in ("generations/video", "generations%2Fvideo", "gener%61tions", "generations/"):
        answer = shared.http.post(f"/dream-machine/v1/{path}", json=body)

        assert answer.status_code == 201, path
        assert answer.headers["x-submission-id"], path


# Smuggling


SMUGGLED = b"GET /agents/v1/echo/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /agents/v1/echo HTTP/1.1\r\n" + HOST
EMPTY = b"\r\n\r\n0\r\n\r\n"
"""The end of a head, and an empty body in chunks."""
AMBIGUOUS = {
    "both lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 0, 5\r\n\r\n",
    "a signed length": POST + b"Content-Length: +5\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "an odd coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not the last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a blank before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": POST + b"X: 1\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": POST.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",
    "a bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a huge chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 32 + b"\r\n",
    "a chunk without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab0\r\n\r\n",
    "NUL in a header": POST + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "CR in a header": POST + b"X: a\rContent-Length: 9\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_of_doubtful_length_is_refused_and_smuggles_nothing(
    shared: Running, name: str
) -> None:
    with connect(shared.service.url) as connection:
        connection.sendall(AMBIGUOUS[name] + SMUGGLED)
        answer = answer_on(connection)
        rest = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer is not None
    assert answer.status == 400, answer
    assert rest == b""
    assert shared.luma.count(path="smuggled") == 0


def test_the_length_of_a_body_is_never_left_to_luma_alone(shared: Running) -> None:
    """A caller cannot have the length dropped by calling it a header of the connection."""
    body = SMUGGLED
    head = POST + b"Connection: close, Content-Length\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connect(shared.service.url) as connection:
        connection.sendall(head + body)
        answer = answer_on(connection)

    assert answer is not None
    assert answer.status == 200
    assert b'"bytes":%d' % len(body) in answer.body
    assert shared.luma.count(path="smuggled") == 0
