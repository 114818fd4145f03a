"""What the gateway does not answer itself passes unchanged, in both directions."""

import gzip
import json
from typing import Any

import httpx
import pytest

from service.simulator import Fault
from tests.acceptance.conftest import Running
from tests.acceptance.talk import eventually, new_id
from tests.hostile import ask, connect

pytestmark = pytest.mark.either_database

APIS = ("/dream-machine/v1", "/agents/v1")
KEYS = {"/dream-machine/v1": "luma-key", "/agents/v1": "luma-api-key"}
ADDED = {
    *("x-content-type-options", "x-frame-options", "referrer-policy"),
    *("cross-origin-resource-policy", "content-security-policy"),
}
"""Response headers that the service adds to every answer that lacks them."""


def echoed(answer: httpx.Response) -> dict[str, Any]:
    """What arrived at Luma; header names in lower case, the last of equal ones."""
    assert answer.status_code == 200, answer.text
    seen: dict[str, Any] = answer.json()
    return {**seen, "headers": {name.lower(): value for name, value in seen["headers"]}}


def passed(running: Running, fault: Fault, **given: Any) -> httpx.Response:
    """The answer to a request that Luma answers as the fault says."""
    running.luma.fault(fault)
    return running.http.get("/dream-machine/v1/ping", **given)


# Up


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_reaches_a_route_that_we_do_not_know(
    shared: Running, api: str, method: str
) -> None:
    target = f"{api}/echo/{method.lower()}?x=1"
    body = b"" if method in ("GET", "DELETE") else b'{"a": 1}'

    seen = echoed(shared.http.request(method, target, content=body))

    assert seen["method"] == method
    assert seen["bytes"] == len(body)
    assert seen["headers"]["authorization"] == f"Bearer {KEYS[api]}"


@pytest.mark.parametrize(
    "target",
    [
        b"/agents/v1/echo/a%20b/c%2Fd/%c3%A9;x='(1)'!*@:$,",
        b"/agents/v1/echo?q=%20+&q=[1]&empty=&%66&'\"<>^`{}|~",
        b"/agents/v1/echo//twice/",
        b"/agents/v1/echo?",
    ],
)
def test_path_and_query_reach_luma_byte_for_byte(shared: Running, target: bytes) -> None:
    answer = ask(shared.service.url, target)

    seen = json.loads(answer.body)
    path, _, query = target.decode().partition("?")
    assert (seen["path"], seen["query"]) == (path, query)


def test_headers_reach_luma_unless_they_are_between_the_caller_and_us(shared: Running) -> None:
    theirs = {
        "X-Request-Id": new_id(),
        "X-Custom": "a, b",
        "User-Agent": "LumaAI/Python 1.21.0",
        "X-Stainless-Retry-Count": "2",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Idempotency-Key": "k",
    }
    ours = {
        "Authorization": "Bearer whatever",
        "Cookie": "session=1",
        "X-Callback-URL": "https://example.com/hook",
        "Connection": "keep-alive, X-Of-This-Connection",
        "X-Of-This-Connection": "1",
        "Keep-Alive": "timeout=5",
        "TE": "trailers",
        "Proxy-Authorization": "Basic eDp5",
        "Upgrade": "h2c",
        "Referer": "http://127.0.0.1/",
    }

    seen = echoed(shared.http.get("/agents/v1/echo", headers={**theirs, **ours}))["headers"]

    assert {name: seen.get(name.lower()) for name in theirs} == theirs
    names = {name.lower() for name in ours} - {"authorization", "connection"}
    assert names.isdisjoint(seen)
    assert "x-of-this-connection" not in seen.get("connection", "").lower()
    assert seen["authorization"] == "Bearer luma-api-key"
    assert seen["host"] in shared.luma.agents_url


def test_nothing_is_added_to_a_request_but_host_and_key(shared: Running) -> None:
    seen = json.loads(ask(shared.service.url, "/agents/v1/echo").body)

    assert {name for name, _ in seen["headers"]} == {"host", "authorization"}


# Down


@pytest.mark.parametrize("status", [200, 201, 202, 204, 304, 400, 401, 404, 409, 413, 418, 422])
def test_status_and_headers_come_back_as_they_are(shared: Running, status: int) -> None:
    headers = {
        "X-Request-Id": new_id(),
        "X-API-Version": "2026-04-01",
        "X-Custom": "1",
        "ETag": '"x"',
        "Content-Disposition": "attachment",
    }
    body = b"" if status in (204, 304) else b"<p>not JSON</p>"
    kind = "text/html; charset=x"

    answer = passed(
        shared, Fault(status=status, body=body, content_type=kind, headers=headers, path="/ping")
    )

    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["content-type"] == kind
    assert {name: answer.headers[name] for name in headers} == headers
    known = {*map(str.lower, headers), "content-type", "content-length", "date"}
    assert set(answer.headers) - ADDED <= known


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_that_may_pass_comes_back_as_it_is(shared: Running, status: int) -> None:
    headers = {
        "Retry-After": "0",
        "X-RateLimit-Limit": "60000",  # more than the rate of `shared`, which must last
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1780000000",
    }
    fault = Fault(path="/echo/limited", status=status, headers=headers, body=b'{"detail": "x"}')
    shared.luma.fault(fault)

    answer = shared.http.post("/dream-machine/v1/echo/limited")

    assert (answer.status_code, answer.content) == (status, b'{"detail": "x"}')
    assert {name: answer.headers[name] for name in headers} == headers
    ping = "/dream-machine/v1/ping"
    eventually(lambda: shared.http.get(ping).status_code == 200, "the breaker has closed")


def test_headers_of_one_connection_and_cookies_do_not_come_down(shared: Running) -> None:
    headers = {
        "Set-Cookie": "a=1",
        "Connection": "X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "timeout=5",
        "Proxy-Authenticate": "Basic",
        "Server": "luma",
    }

    answer = passed(shared, Fault(body=b"{}", headers=headers, path="/ping"))

    assert {name.lower() for name in headers}.isdisjoint(answer.headers)


def test_cookies_that_luma_sets_are_not_sent_to_it_again(shared: Running) -> None:
    passed(shared, Fault(body=b"{}", headers={"Set-Cookie": "a=1; Path=/"}, path="/ping"))

    assert "cookie" not in echoed(shared.http.get("/dream-machine/v1/echo"))["headers"]


def test_a_redirect_is_passed_on_and_not_followed(shared: Running) -> None:
    target = f"{shared.luma.agents_url}/echo/elsewhere"
    for status in (301, 302, 303, 307, 308):
        fault = Fault(status=status, body=b"", headers={"Location": target}, path="/ping")

        answer = passed(shared, fault, follow_redirects=False)

        assert (answer.status_code, answer.headers["location"]) == (status, target)
    assert shared.luma.count(path="/echo/elsewhere") == 0


def test_a_compressed_answer_stays_compressed(shared: Running) -> None:
    body = gzip.compress(b'{"message": "pong"}')
    shared.luma.fault(Fault(body=body, headers={"Content-Encoding": "gzip"}, path="/ping"))

    with shared.http.stream("GET", "/dream-machine/v1/ping") as answer:
        raw = b"".join(answer.iter_raw())

    assert raw == body
    assert answer.headers["content-encoding"] == "gzip"


def test_head_goes_up_as_head(shared: Running) -> None:
    answer = shared.http.head("/agents/v1/bytes/1000")
    shared.luma.fault(Fault(path="/ping", body=b"12345"))
    with_length = shared.http.head("/dream-machine/v1/ping")

    assert answer.status_code == 405, "the simulator has no HEAD"
    assert with_length.headers["content-length"] == "5"
    assert with_length.content == b""
    assert [seen.method for seen in shared.luma.requests[-2:]] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("api", APIS)
def test_a_key_that_luma_quotes_in_an_error_stays_with_us(
    shared: Running, api: str, encoding: str
) -> None:
    said = f'{{"detail": "Invalid API key: {KEYS[api]}"}}'.encode()
    body = gzip.compress(said) if encoding == "gzip" else said
    headers = {} if encoding == "identity" else {"Content-Encoding": encoding}
    path = f"{api}/echo/{new_id()}"
    shared.luma.fault(Fault(path=path, status=401, body=body, headers=headers))

    answer = shared.http.post(path)

    assert answer.status_code == 401
    assert answer.json() == {"detail": "Invalid API key: [redacted]"}


def test_requests_on_one_connection_are_answered_in_order(shared: Running) -> None:
    """Whether they pass, are answered from the store, or are refused."""
    generation_id = shared.luma.create()
    paths = ["ping", f"generations/{generation_id}", "x/../y", "credits", "generations?limit=1"]
    wanted = [200, 200, 404, 200, 200]
    heads = [
        f"GET /dream-machine/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        for path in paths
    ]
    last = heads.pop().replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    with connect(shared.service.url) as connection:
        connection.sendall(b"".join([*heads, last]))
        came = b"".join(iter(lambda: connection.recv(65536), b""))

    statuses = [
        int(line.split()[1]) for line in came.split(b"HTTP/1.1 ")[1:] for line in [b"x " + line]
    ]
    assert statuses == wanted
