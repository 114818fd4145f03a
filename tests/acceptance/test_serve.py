"""The service as a process: how it starts, whom it lets in, how it ends, and what outlives it."""

import json
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from service.simulator import Luma
from tests.acceptance.conftest import UNASKED, Running, Service, environment_for, run_service
from tests.acceptance.talk import (
    body_of,
    call_back,
    events,
    eventually,
    lines_of,
    new_id,
    problem_in,
    read,
    told,
)
from tests.databases import execute, locked
from tests.databases import one as one_value
from tests.launching import run

pytestmark = pytest.mark.either_database

Start = Callable[..., Service]

ENDED = (0, -signal.SIGTERM)
"""How a process may end that was told to; init systems take either for clean."""
OPEN = ("/healthz", "/readyz")
GUARDED = (
    "/v1/generations",
    "/v1/generations/x",
    "/v1/generations/x/events",
    "/v1/events",
    "/docs",
    "/redoc",
)
PAGE = "https://pages.example"


def refused_start(folder: Path, luma: Luma, *arguments: str, **given: str) -> tuple[int, str]:
    """The exit code and the words of a service that must not start."""
    environment = environment_for(folder, luma, **given)
    ended = run(["serve", "--port", "0", *arguments], environment=environment, folder=folder)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def url_of(service: Service, path: str) -> str:
    return f"{service.url}{path}"


# Starting


@pytest.mark.sqlite
def test_it_starts_from_nothing_and_says_what_it_did(tmp_path: Path, start_service: Start) -> None:
    database = tmp_path / "deep" / "down" / "tracker.db"

    service = start_service(**UNASKED, TRACKER_DATABASE_URL=f"sqlite:///{database}")
    ready = httpx.get(url_of(service, "/readyz"))
    service.stop()

    assert ready.status_code == 200
    assert database.exists()
    log = "".join(service.said)
    assert str(database) in log
    assert "database_created" in log
    assert "upstreams=dream_machine,agents" in log
    assert "TRACKER_PUBLIC_URL is not set" in log, "it works by polling alone, and says so"
    assert "Traceback" not in log


def test_two_services_that_start_at_once_on_a_fresh_store_both_come_up(
    start_service: Start, shared: Running
) -> None:
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: start_service(**UNASKED), range(2))

    assert httpx.get(url_of(one, "/readyz")).status_code == 200
    assert httpx.get(url_of(other, "/readyz")).status_code == 200
    generation_id = new_id()
    told = httpx.post(one.callback_url, json=body_of(generation_id))
    assert told.status_code == 200
    assert httpx.get(url_of(other, f"/v1/generations/{generation_id}")).status_code == 200
    for service in (one, other):
        service.stop()
    made = [line for line in (one.said + other.said).splitlines() if "database_created" in line]
    assert len(made) == 1, "one of them made it"
    assert "Traceback" not in "".join(one.said + other.said)


@pytest.mark.sqlite
def test_a_callback_secret_is_made_once_and_kept_to_oneself(tmp_path: Path, luma: Luma) -> None:
    environment = environment_for(tmp_path, luma)
    del environment["TRACKER_CALLBACK_SECRET"]
    service = Service(environment, tmp_path)
    service.start()
    try:
        path = httpx.URL(service.command("callback-url").stdout.strip()).path
        assert httpx.post(url_of(service, path), json=body_of(new_id())).status_code == 200
    finally:
        service.stop()
    service.start()
    try:
        assert httpx.post(url_of(service, path), json=body_of(new_id())).status_code == 200
    finally:
        service.stop()

    [secret] = tmp_path.glob("*secret*")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(secret.read_text().strip()) >= 32


def test_the_callback_secret_can_be_rotated(start_service: Start) -> None:
    old = start_service(**UNASKED, TRACKER_CALLBACK_SECRET="the-old-one")
    old_path = httpx.URL(old.callback_url).path
    old.stop()
    both = start_service(**UNASKED, TRACKER_CALLBACK_SECRET="the-new-one, the-old-one")
    new_path = httpx.URL(both.callback_url).path

    assert new_path != old_path
    for path in (old_path, new_path):
        assert httpx.post(url_of(both, path), json=body_of(new_id())).status_code == 200
    both.stop()
    new = start_service(**UNASKED, TRACKER_CALLBACK_SECRET="the-new-one")
    assert httpx.post(url_of(new, new_path), json=body_of(new_id())).status_code == 200
    problem_in(httpx.post(url_of(new, old_path), json=body_of(new_id())), 404)


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path, luma: Luma) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

        code, said = refused_start(tmp_path, luma, "--port", str(port))

    assert code == 2
    [line] = said.splitlines()
    assert "TRACKER_PORT" in line
    assert str(port) in line


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "tracker.example"])
def test_without_tokens_it_refuses_to_be_reached_from_elsewhere(
    tmp_path: Path, luma: Luma, host: str
) -> None:
    code, said = refused_start(tmp_path, luma, TRACKER_HOST=host)

    assert code == 2
    [line] = said.splitlines()
    assert "TRACKER_HOST" in line
    assert "TRACKER_API_TOKENS" in line


@pytest.mark.sqlite
@pytest.mark.parametrize("broken", ["a folder", "not a database"])
def test_a_database_that_cannot_be_used_stops_the_start_with_a_clear_word(
    tmp_path: Path, luma: Luma, broken: str
) -> None:
    database = tmp_path / "tracker.db"
    if broken == "a folder":
        database.mkdir()
    else:
        database.write_bytes(b"this is no database\n" * 500)

    code, said = refused_start(tmp_path, luma)

    assert code == 1
    assert "Traceback" not in said
    assert str(database) in said.splitlines()[-1]


# Ending


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_within_seconds(
    start_service: Start, sign: signal.Signals
) -> None:
    service = start_service(**UNASKED)
    with httpx.Client(base_url=service.url) as http:
        assert http.get("/healthz").status_code == 200  # and the connection is kept
        began = time.monotonic()
        service.process.send_signal(sign)
        code = service.process.wait(timeout=15)
    service.stop()

    assert time.monotonic() - began < 5
    assert code in (*ENDED, -sign)
    assert "Traceback" not in "".join(service.said)
    assert "ERROR" not in "".join(service.said)


def test_those_who_wait_do_not_keep_it_from_ending(start_service: Start, shared: Running) -> None:
    service = start_service(**UNASKED)
    generation_id = new_id()
    httpx.post(service.callback_url, json=body_of(generation_id, "dreaming"))
    wait = url_of(service, f"/v1/generations/{generation_id}?wait=50")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(httpx.get, wait, timeout=60)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.7)
        began = time.monotonic()
        service.process.terminate()
        try:
            service.process.wait(timeout=8)
        finally:
            took = time.monotonic() - began
            service.process.kill()
            waiting.exception(timeout=15)

    assert took < 8
    assert service.process.returncode in ENDED


def test_what_it_was_told_outlives_a_restart(start_service: Start, shared: Running) -> None:
    service = start_service(**UNASKED)
    with httpx.Client(base_url=service.url) as http:
        path = shared.service.callback_path
        body = json.dumps(body_of(new_id())).encode()
        generation_id = json.loads(body)["id"]
        assert http.post(path, content=body).json() == {"outcome": "applied"}
        before = http.get(f"/v1/generations/{generation_id}")
        history = http.get(f"/v1/generations/{generation_id}/events").json()
    service.stop()

    service.start()

    with httpx.Client(base_url=service.url) as http:
        after = http.get(f"/v1/generations/{generation_id}")
        assert after.content == before.content
        assert after.headers["etag"] == before.headers["etag"]
        assert http.get(f"/v1/generations/{generation_id}/events").json() == history
        assert http.post(path, content=body).json() == {"outcome": "unchanged"}
    service.stop()
    assert service.said.count("database_created") == 1


def test_what_was_answered_with_200_outlives_a_kill(start_service: Start, shared: Running) -> None:
    service = start_service(**UNASKED)
    told_of = [new_id() for _ in range(50)]
    with httpx.Client() as http:
        url = service.callback_url
        for generation_id in told_of:
            assert http.post(url, json=body_of(generation_id)).status_code == 200
    service.process.kill()
    service.stop()

    service.start()

    with httpx.Client(base_url=service.url) as http:
        for generation_id in told_of:
            answer = http.get(f"/v1/generations/{generation_id}")
            assert answer.json()["state"] == "completed"
            assert answer.headers["cache-status"] == "luma-tracker; hit"
    service.stop()


# Health


def test_it_says_whether_it_is_alive_and_whether_it_is_ready(shared: Running) -> None:
    assert shared.http.get("/healthz").status_code == 200
    assert shared.http.get("/readyz").status_code == 200


def test_it_is_alive_but_not_ready_while_its_database_is_of_an_older_version(
    shared: Running,
) -> None:
    revision = one_value(shared.database, "SELECT version_num FROM alembic_version")
    execute(shared.database, "UPDATE alembic_version SET version_num = '0000'")
    try:
        problem = problem_in(shared.http.get("/readyz"), 503)
        alive = shared.http.get("/healthz")
    finally:
        execute(shared.database, "UPDATE alembic_version SET version_num = ?", revision)

    assert "0000" in problem["detail"]
    assert "upgrade" in problem["hint"]
    assert alive.status_code == 200
    assert shared.http.get("/readyz").status_code == 200


def test_a_database_that_is_locked_for_long_is_told_apart_from_a_lost_callback(
    shared: Running,
) -> None:
    """Nothing was kept, so it must not be 200: Luma tries again, within its five seconds."""
    generation_id = told(shared, "queued")
    with locked(shared.database):
        began = time.monotonic()
        answer = call_back(shared, body_of(generation_id))
        took = time.monotonic() - began
        known = shared.http.get("/v1/generations", params={"limit": 1})

    problem_in(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    assert took < 5
    assert known.status_code == 200, "reading goes on"
    assert call_back(shared, body_of(generation_id)).json() == {"outcome": "applied"}


# Who may ask


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """It wants one of two tokens, and lets the pages of one origin read."""
    folder = tmp_path_factory.mktemp("guarded")
    given = {"TRACKER_API_TOKENS": "token-one, token-two", "TRACKER_CORS_ORIGINS": PAGE}
    with run_service(folder, **given) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    """The header that carries it."""
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", [*GUARDED, "/openapi.json", "/mcp", "/no-such-path"])
def test_without_a_token_nothing_is_told(guarded: Running, path: str) -> None:
    answer = guarded.http.request("POST" if path == "/mcp" else "GET", path)

    problem_in(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers",
    [
        bearer("wrong"),
        bearer("token-one,token-two"),
        bearer("token-on"),
        {"Authorization": "Bearer"},
        {"Authorization": "token-one"},
        {"Authorization": "Basic token-one"},
        {"Cookie": "token=token-one"},
    ],
    ids=str,
)
def test_with_something_else_than_a_token_nothing_is_told(
    guarded: Running, headers: dict[str, str]
) -> None:
    answer = guarded.http.get("/v1/generations", headers=headers)

    problem_in(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_in_the_query_is_no_token(guarded: Running) -> None:
    problem_in(guarded.http.get("/healthz/../v1/generations?access_token=token-one"), 401)


@pytest.mark.parametrize(
    "headers", [bearer("token-one"), bearer("token-two"), {"Authorization": "bearer  token-one"}]
)
def test_with_a_token_everything_is_open(guarded: Running, headers: dict[str, str]) -> None:
    generation_id = told(guarded)

    for path in (f"/v1/generations/{generation_id}", "/v1/generations", "/openapi.json", "/docs"):
        assert guarded.http.get(path, headers=headers).status_code == 200
    problem_in(guarded.http.get("/no-such-path", headers=headers), 404)


def test_callbacks_and_health_want_no_token(guarded: Running) -> None:
    assert call_back(guarded, body_of(new_id())).status_code == 200
    problem_in(guarded.http.post("/callbacks/wrong", json={}), 404)
    for path in OPEN:
        assert guarded.http.get(path).status_code == 200


async def test_an_agent_with_a_token_is_let_in(guarded: Running) -> None:
    generation_id = told(guarded)
    url = f"{guarded.service.url}/mcp"
    async with (
        httpx2.AsyncClient(headers=bearer("token-two")) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool("get_generation", {"generation_id": generation_id})

    assert lines_of(result)["State"] == "completed"


def test_with_tokens_any_host_name_will_do(guarded: Running) -> None:
    headers = {**bearer("token-one"), "Host": "tracker.example"}

    assert guarded.http.get("/v1/generations", headers=headers).status_code == 200


def test_the_command_line_wants_no_token(guarded: Running) -> None:
    """It works on the store itself."""
    assert guarded.service.command("get", told(guarded)).returncode == 0


# Host names, without tokens


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.0.0.1:1", "LOCALHOST:8000", "[::1]"]
)
def test_without_tokens_a_local_name_is_answered(shared: Running, host: str) -> None:
    assert shared.http.get("/v1/generations", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil@127.0.0.2",
        "",
        "[",
    ],
)
@pytest.mark.parametrize("path", ["/v1/generations", "/openapi.json", "/docs"])
def test_without_tokens_another_name_is_turned_away(shared: Running, host: str, path: str) -> None:
    """So that no web page can have a browser ask us under a name of its own."""
    problem_in(shared.http.get(path, headers={"Host": host}), 421)


def test_luma_calls_back_under_whatever_name_it_knows(shared: Running) -> None:
    assert call_back(shared, body_of(new_id()), Host="tunnel.example").status_code == 200


def test_under_the_public_name_only_callbacks_and_health_pass(start_service: Start) -> None:
    service = start_service(**UNASKED, TRACKER_PUBLIC_URL="https://tracker.example/")
    url = url_of(service, "/v1/generations")

    problem_in(httpx.get(url, headers={"Host": "tracker.example"}), 421)
    problem_in(httpx.get(url, headers={"Host": "other.example"}), 421)
    health = httpx.get(url_of(service, "/healthz"), headers={"Host": "tracker.example"})
    assert health.status_code == 200


# Pages of other origins


def allowed_origin(answer: httpx.Response) -> str | None:
    allowed: str | None = answer.headers.get("access-control-allow-origin")
    return allowed


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_without_configured_origins_no_page_may_read(shared: Running, method: str) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}

    answer = shared.http.request(method, "/v1/generations", headers=headers)

    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_of_a_configured_origin_may_read(guarded: Running) -> None:
    preflight = guarded.http.options(
        "/v1/generations",
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization,if-none-match",
        },
    )
    answer = guarded.http.get("/v1/generations", headers={**bearer("token-one"), "Origin": PAGE})
    unknown = guarded.http.get("/v1/generations", headers={"Origin": PAGE})

    assert preflight.status_code in (200, 204), "it carries no token, and needs none"
    assert allowed_origin(preflight) == PAGE
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert allowed_origin(answer) == PAGE
    assert "Origin" in answer.headers["vary"]
    assert "etag" in answer.headers["access-control-expose-headers"].lower()
    problem_in(unknown, 401)
    assert allowed_origin(unknown) == PAGE, "the page learns why"


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", f"{PAGE}.evil.example"])
def test_a_page_of_any_other_origin_may_not(guarded: Running, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}

    for answer in (
        guarded.http.get("/v1/generations", headers={**bearer("token-one"), "Origin": origin}),
        guarded.http.options("/v1/generations", headers=asked),
    ):
        assert allowed_origin(answer) is None


def test_a_write_by_a_page_of_another_origin_is_403_even_with_a_token(guarded: Running) -> None:
    headers = {**bearer("token-one"), "Accept": "application/json, text/event-stream"}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    foreign = guarded.http.post(
        "/mcp", json=asked, headers={**headers, "Origin": "https://elsewhere.example"}
    )
    ours = guarded.http.post("/mcp", json=asked, headers={**headers, "Origin": PAGE})

    problem_in(foreign, 403)
    assert ours.status_code != 403


# The log


def test_nothing_that_clients_do_leaves_a_traceback_in_the_log(
    start_service: Start, shared: Running
) -> None:
    service = start_service(**UNASKED)
    with httpx.Client(base_url=service.url) as http:
        path = shared.service.callback_path
        http.get("/v1/generations/%ff")
        http.get("/v1/generations", params={"cursor": "x"})
        http.post(path, content=b"\xff" * 100)
        http.post(path, content=b"x" * (2 * 1024 * 1024))
        http.post("/mcp", content=b"{")
        http.request("BREW", "/v1/generations")

        def broken() -> Iterator[bytes]:
            yield b'{"id": '
            raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            http.post(path, content=broken())
        with closing(socket.create_connection(("127.0.0.1", httpx.URL(service.url).port))) as raw:
            raw.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            raw.settimeout(5)
            raw.recv(1000)
    assert eventually(lambda: httpx.get(url_of(service, "/readyz")).status_code == 200, "ready")
    service.stop()

    assert "Traceback" not in "".join(service.said)


def test_history_is_shared_by_all_who_use_the_store(shared: Running) -> None:
    generation_id = shared.luma.create(callback_url=shared.callback_url)
    shared.service.command("get", generation_id).check_returncode()
    shared.luma.advance(60)

    assert [event["source"] for event in events(shared, generation_id)] == [
        "fetch",
        "callback",
        "callback",
    ]
    assert read(shared, generation_id)["rev"] == 3
