"""Nobody in who should not be: tokens, loopback, hosts, origins, and those who take their time."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import Service, environment_for
from tests.acceptance.proxying import plain_configuration, run_nginx
from tests.hostile import PROBLEM, Raw, Target, answer_on, ask, connect, target
from tests.waiting import until

pytestmark = pytest.mark.either_database

ALL = "all-powerful-token"
READS = "only-reads-token"
TOKENS = f"{ALL}, ro:{READS}"
ORIGIN = "https://dash.example"
PUBLIC = "https://tracker.example"

SURFACES = [
    *(("GET", "/v1/generations"), ("GET", "/v1/generations/known"), ("GET", "/v1/deliveries")),
    *(("GET", "/v1/generations/known/events"), ("GET", "/v1/deliveries/x")),
    *(("GET", "/metrics"), ("GET", "/docs"), ("GET", "/redoc"), ("GET", "/openapi.json")),
    *(("GET", "/nowhere"), ("HEAD", "/v1/generations"), ("GET", "/mcp"), ("POST", "/mcp")),
    *(("POST", "/v1/deliveries/x/replay"), ("DELETE", "/v1/generations/known"), ("GET", "/")),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service with tokens, and one origin that may read."""
    folder = tmp_path_factory.mktemp("guarded")
    given = {"TRACKER_API_TOKENS": TOKENS, "TRACKER_CORS_ORIGINS": ORIGIN}
    with target(folder, **given) as running:
        running.call_back({"id": "known", "state": "dreaming"})
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service without tokens, for programs on this machine."""
    folder = tmp_path_factory.mktemp("local")
    with target(folder, TRACKER_PUBLIC_URL="http://localhost:8000") as running:
        running.call_back({"id": "known", "state": "dreaming"})
        yield running


def _from(address: str, running: Target, token: str | None = None) -> httpx.Client:
    """A client at another address of this machine, so that its guesses are its own."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(transport=transport, base_url=running.service.url, headers=headers)


@pytest.mark.parametrize(("method", "path"), SURFACES)
def test_every_surface_wants_a_token(guarded: Target, method: str, path: str) -> None:
    with _from(f"127.0.1.{SURFACES.index((method, path)) + 1}", guarded) as nobody:
        answer = nobody.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_wants_none(guarded: Target, path: str) -> None:
    assert guarded.http.get(path).status_code == 200


def test_callbacks_want_none_but_their_own(guarded: Target) -> None:
    assert guarded.call_back({"id": "another", "state": "queued"}).status_code == 200
    for token in (ALL, READS):
        assert guarded.http.post(f"/callbacks/{token}", content=b"{}").status_code == 404


@pytest.mark.parametrize("token", [ALL, READS])
def test_either_token_reads_everything(guarded: Target, token: str) -> None:
    with _from("127.0.2.1", guarded, token) as http:
        for path in ("/v1/generations", "/v1/generations/known", "/v1/deliveries", "/metrics"):
            assert http.get(path).status_code == 200
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert http.get(path).status_code == 200


@pytest.mark.parametrize("token", [ALL, READS])
def test_either_token_uses_the_reading_tools(guarded: Target, token: str) -> None:
    bearer = {"Authorization": f"Bearer {token}"}
    got = guarded.tool("get_generation", {"generation_id": "known"}, **bearer).json()["result"]
    listed = guarded.tool("list_generations", {}, **bearer).json()["result"]
    assert got["structuredContent"]["id"] == "known"
    assert not listed["isError"]


def test_only_the_full_token_replays(guarded: Target) -> None:
    [(delivery_id,), *_] = guarded.service.rows("SELECT id FROM deliveries")
    path = f"/v1/deliveries/{delivery_id}/replay"
    with _from("127.0.2.2", guarded, READS) as reader:
        refused = reader.post(path)
    with _from("127.0.2.2", guarded, ALL) as writer:
        done = writer.post(path)
    assert refused.status_code == 403
    assert refused.headers["content-type"] == PROBLEM
    assert done.status_code == 200


def test_who_guesses_is_stopped_and_a_good_token_always_passes(guarded: Target) -> None:
    with _from("127.0.3.1", guarded) as http:

        def status(token: str, path: str = "/v1/generations") -> int:
            return http.get(path, headers={"Authorization": f"Bearer {token}"}).status_code

        assert {http.get("/v1/generations").status_code for _ in range(30)} == {401}
        assert [status(f"guess-{n}") for n in range(22)] == [401] * 20 + [429] * 2
        for path in ("/v1/generations", "/v1/generations/known", "/metrics"):
            assert [status(ALL, path), status(READS, path)] == [200, 200]
        assert http.get("/readyz").status_code == 200
        stopped = http.get("/v1/generations", headers={"Authorization": "Bearer wrong"})

    assert stopped.status_code == 429
    assert stopped.headers["retry-after"] == "60"
    assert stopped.headers["content-type"] == PROBLEM
    bearer = {"Authorization": f"Bearer {ALL}"}
    assert 'refusals_total{reason="429"}' in guarded.http.get("/metrics", headers=bearer).text


def test_tokens_stay_out_of_the_log(guarded: Target) -> None:
    with _from("127.0.3.2", guarded, "a-guessed-token") as http:
        http.get("/v1/generations")
    for token in (ALL, READS, "a-guessed-token"):
        assert token not in guarded.service.said


# --- without tokens, behind a proxy: callbacks only --------------------------------------------


@pytest.fixture(scope="module")
def behind_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service without tokens, asked through nginx as people configure it first."""
    folder = tmp_path_factory.mktemp("behind-nginx")
    with target(folder, TRACKER_PUBLIC_URL=PUBLIC) as running:
        running.call_back({"id": "known", "state": "dreaming"})
        url = running.service.url
        with (
            run_nginx(folder, lambda port: plain_configuration(folder, port, url)) as proxy,
            httpx.Client(base_url=proxy.url) as http,
        ):
            yield Target(running.service, running.luma, http)


@pytest.mark.parametrize(("method", "path"), SURFACES)
def test_without_tokens_a_plain_proxy_opens_nothing(
    behind_nginx: Target, method: str, path: str
) -> None:
    local = httpx.request(method, f"{behind_nginx.service.url}{path}")
    for answer in (behind_nginx.http.request(method, path), local):
        assert answer.status_code == 421, "nothing tells one from the other"
        assert answer.headers["content-type"] == PROBLEM
        if method != "HEAD":
            assert "TRACKER_API_TOKENS" in answer.json()["hint"]


@pytest.mark.parametrize("tool", ["get_generation", "list_generations"])
def test_without_tokens_a_plain_proxy_opens_no_tool(behind_nginx: Target, tool: str) -> None:
    assert behind_nginx.tool(tool, {"generation_id": "known"}).status_code == 421


def test_without_tokens_callbacks_and_health_pass_a_plain_proxy(behind_nginx: Target) -> None:
    for path in ("/healthz", "/readyz"):
        assert behind_nginx.http.get(path).status_code == 200
    assert behind_nginx.call_back({"id": "proxied", "state": "queued"}).status_code == 200


def test_it_says_that_only_callbacks_are_served_and_what_to_do(behind_nginx: Target) -> None:
    doctor = behind_nginx.service.command("doctor")
    for said in (behind_nginx.service.said, doctor.stdout):
        [line] = [line for line in said.splitlines() if "only /callbacks/" in line]
        assert "TRACKER_API_TOKENS" in line


# --- without tokens: this machine only ---------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), SURFACES)
def test_a_name_that_is_not_local_is_misdirected(local: Target, method: str, path: str) -> None:
    for name in (b"tracker.example", b"127.0.0.1.evil.example:8000", b""):
        answer = ask(local.service.url, path, b"Host: " + name, method=method)
        assert answer.status == 421, name
        if method != "HEAD":
            assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(("method", "path"), SURFACES)
def test_what_a_tunnel_passes_on_is_misdirected(local: Target, method: str, path: str) -> None:
    for passed in ("X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "Via"):
        answer = local.http.request(method, path, headers={passed: "192.0.2.1"})
        assert answer.status_code == 421, passed


@pytest.mark.parametrize("path", ["/mcp", "/v1/deliveries/x/replay", "/nowhere"])
def test_another_sites_page_may_not_write_nor_speak_mcp(
    local: Target, guarded: Target, path: str
) -> None:
    bearer = {"Authorization": f"Bearer {ALL}"}
    for origin in ("https://evil.example", "null", f"{local.service.url}.evil.example"):
        assert local.http.post(path, headers={"Origin": origin}).status_code == 403
        answer = guarded.http.post(path, headers={"Origin": origin, **bearer})
        assert answer.status_code == 403
        assert answer.headers["content-type"] == PROBLEM
        assert "access-control-allow-origin" not in answer.headers


def test_callbacks_and_health_come_through_the_tunnel(local: Target) -> None:
    passed = {"Host": "tracker.example", "X-Forwarded-For": "192.0.2.1", "Via": "1.1 tunnel"}
    for path in ("/healthz", "/readyz"):
        assert local.http.get(path, headers=passed).status_code == 200
    foreign = {**passed, "Origin": "https://evil.example", "Content-Type": "text/plain"}
    sent = local.http.post(
        local.callback_path, content=b'{"id": "tunnelled", "state": "queued"}', headers=foreign
    )
    assert sent.status_code == 200


def _refused_start(folder: Path, luma: Luma, *arguments: str, **given: str) -> str:
    """What `serve` says when it does not start."""
    service = Service(environment_for(folder, luma, **given), folder)
    run = service.command("serve", *arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    return run.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_tokens_it_does_not_listen_to_others(tmp_path: Path, luma: Luma, host: str) -> None:
    said = _refused_start(tmp_path, luma, "--host", host, "--port", "0")
    assert "TRACKER_HOST" in said
    assert "TRACKER_API_TOKENS" in said


def test_without_tokens_it_does_not_take_over_a_socket_that_others_reach(
    tmp_path: Path, luma: Luma
) -> None:
    """As from a supervisor; the setting says loopback, the socket does not."""
    with socket.create_server(("0.0.0.0", 0)) as wide:
        service = Service(environment_for(tmp_path, luma), tmp_path)
        try:
            with pytest.raises(AssertionError, match="TRACKER_API_TOKENS"):
                service.start("--fd", str(wide.fileno()), pass_fds=(wide.fileno(),))
            assert service.process.wait(timeout=15) == 2
        finally:
            service.stop()

        service = Service(environment_for(tmp_path, luma, TRACKER_API_TOKENS=ALL), tmp_path)
        service.start("--fd", str(wide.fileno()), pass_fds=(wide.fileno(),))
        try:
            url = f"http://127.0.0.1:{wide.getsockname()[1]}"
            assert httpx.get(f"{url}/readyz").status_code == 200
            assert httpx.get(f"{url}/v1/generations").status_code == 401
        finally:
            service.stop()


def test_a_read_only_token_that_is_empty_stops_the_start(tmp_path: Path, luma: Luma) -> None:
    """`ro:$READ_TOKEN` with that variable unset; started, it would let everybody read."""
    service = Service(environment_for(tmp_path, luma, TRACKER_API_TOKENS=f"{ALL},ro:"), tmp_path)
    try:
        with pytest.raises(AssertionError, match="TRACKER_API_TOKENS"):
            service.start()
    finally:
        service.stop()


# --- every answer ------------------------------------------------------------------------------


def test_every_answer_carries_the_security_headers(guarded: Target, local: Target) -> None:
    bearer, url = {"Authorization": f"Bearer {ALL}"}, guarded.service.url
    known = guarded.http.get("/v1/generations/known", headers=bearer)
    etag = {"If-None-Match": known.headers["etag"], **bearer}
    http = guarded.http
    answers = {
        "200": known,
        "304": http.get("/v1/generations/known", headers=etag),
        "health": http.get("/healthz"),
        "docs": http.get("/docs", headers=bearer),
        "openapi": http.get("/openapi.json", headers=bearer),
        "metrics": http.get("/metrics", headers=bearer),
        "401": httpx.get(f"{url}/v1/generations"),
        "403": http.post("/mcp", headers={"Origin": "https://evil.example", **bearer}),
        "404": http.get("/nowhere", headers=bearer),
        "404 of a callback": http.post("/callbacks/x", content=b"{}"),
        "405": http.put("/v1/generations", headers=bearer),
        "413": http.post(guarded.callback_path, content=b"x" * 1_100_000),
        "421": local.http.get("/v1/generations", headers={"Host": "evil.example"}),
        "422": http.get("/v1/generations?limit=x", headers=bearer),
        "422 of a callback": guarded.call_back(b"x"),
        "HEAD": http.head("/v1/generations", headers=bearer),
        "OPTIONS": http.options("/v1/generations", headers=bearer),
        "MCP": guarded.rpc("ping", {}, **bearer),
        "MCP error": http.post("/mcp", content=b"x", headers=bearer),
        "readable to a page": http.get("/v1/generations", headers={"Origin": ORIGIN, **bearer}),
    }
    without = {
        name: answer.status_code
        for name, answer in answers.items()
        if answer.headers.get("x-content-type-options") != "nosniff"
        or answer.headers.get("x-frame-options") != "DENY"
        or answer.headers.get("referrer-policy") != "no-referrer"
        or ("content-security-policy" not in answer.headers and name != "docs")
        or "server" in answer.headers
    }
    assert without == {}


def test_a_preflight_answer_carries_them_too(guarded: Target) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    answer = guarded.http.options("/v1/generations", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_without_named_origins_no_cors_header_is_sent(local: Target) -> None:
    answer = local.http.get("/v1/generations", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert [name for name in answer.headers if name.startswith("access-control")] == []


# --- those who take their time -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dawdled:
    """What came of a request that never ended."""

    answer: Raw | None
    after: float
    closed: bool


def _head(local: Target, path: str, length: int = 100) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {local.host}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json, text/event-stream\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


@pytest.fixture(scope="module")
def dawdled(local: Target) -> dict[str, Dawdled]:
    """Several at once, each of which says something now and then but never finishes."""
    begun = {
        "says nothing": b"",
        "head": b"GET /v1/generations HTTP/1.1\r\nX-Slow: ",
        "callback": _head(local, local.callback_path) + b'{"id": "slow",',
        "mcp": _head(local, "/mcp") + b'{"jsonrpc"',
    }
    connections = {name: connect(local.service.url, timeout=0.2) for name in begun}
    for name, connection in connections.items():
        connection.sendall(begun[name])
    start, came = time.monotonic(), dict[str, Dawdled]()

    def done() -> bool:
        for name, connection in connections.items():
            if name not in came and (answered := _answered(connection, name, start)):
                came[name] = answered
        return len(came) == len(begun) or time.monotonic() - start > 25

    until(done)
    assert local.http.get("/readyz").status_code == 200  # the others were not kept waiting
    for connection in connections.values():
        connection.close()
    return came


def _answered(connection: socket.socket, name: str, start: float) -> Dawdled | None:
    try:
        if name != "says nothing":
            connection.sendall(b"x")
        answer = answer_on(connection)
    except TimeoutError:
        return None
    except OSError:
        answer = None
    return Dawdled(answer, time.monotonic() - start, _is_closed(connection))


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except OSError as error:
        return not isinstance(error, TimeoutError)


@pytest.mark.parametrize("name", ["says nothing", "head"])
def test_a_head_that_does_not_come_ends_after_ten_seconds(
    dawdled: dict[str, Dawdled], name: str
) -> None:
    assert name in dawdled
    assert 9 < dawdled[name].after < 20  # the rest is the machine's
    assert dawdled[name].closed


def test_a_callbacks_body_that_does_not_come_is_408_after_ten_seconds(
    dawdled: dict[str, Dawdled], local: Target
) -> None:
    answer = dawdled["callback"].answer
    assert 9 < dawdled["callback"].after < 20
    assert answer
    assert answer.status == 408
    assert answer.headers["content-type"] == PROBLEM
    assert local.service.rows("SELECT count(*) FROM generations WHERE id = 'slow'") == [(0,)]


def test_an_mcp_body_that_does_not_come_ends_too(dawdled: dict[str, Dawdled]) -> None:
    assert "mcp" in dawdled
    assert dawdled["mcp"].after < 20


def test_who_leaves_in_the_middle_of_a_body_is_no_error_of_ours(guarded: Target) -> None:
    begun = len(guarded.service.said)
    for path in (guarded.callback_path, "/callbacks/x"):
        with connect(guarded.service.url) as connection:
            connection.sendall(_head(guarded, path) + b'{"id":')
    assert guarded.call_back({"id": "next", "state": "queued"}).status_code == 200
    with connect(guarded.service.url) as connection:
        connection.sendall(_head(guarded, guarded.callback_path, 12) + b'{"id": "a"')
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert "Traceback" not in guarded.service.said[begun:]
