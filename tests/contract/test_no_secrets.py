"""Secrets stay in: no surface, error or log line shows a key, a token or a callback URL."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from service.config import load_settings
from service.simulator import Fault
from service.tracking.callback_tokens import CallbackTokens
from tests.acceptance.conftest import Service
from tests.databases import at, curse, lift, locked
from tests.hostile import Target, connect, target

pytestmark = pytest.mark.either_database

SECRET = "kept-secret-of-the-callbacks"
OLD_SECRET = "older-secret-of-the-callbacks"
LUMA_KEY = "luma-dm-key-0123456789abcdef"
AGENTS_KEY = "luma-api-key-fedcba9876543210"
ALL = "full-token-5f2c9d"
READS = "reading-token-81ab3e"
THEIRS = "https://customer.example/hooks/their-own-capability-77"

REUSABLE = CallbackTokens([SECRET]).reusable()
SINGLE = CallbackTokens([SECRET]).single()
OLD = CallbackTokens([OLD_SECRET]).reusable()
URL = f"https://tracker.example/callbacks/{REUSABLE}"

SECRETS = {
    "the callback secret": SECRET,
    "the older callback secret": OLD_SECRET,
    "the Dream Machine key": LUMA_KEY,
    "the Agents key": AGENTS_KEY,
    "the full token": ALL,
    "the reading token": READS,
    "a reusable callback token": REUSABLE.rpartition(".")[2],
    "a single callback token": SINGLE.rpartition(".")[2],
    "a callback token of the older key": OLD.rpartition(".")[2],
    "somebody's own callback URL": "their-own-capability-77",
}
SETTINGS = {
    "LUMAAI_API_KEY": LUMA_KEY,
    "LUMA_AGENTS_API_KEY": AGENTS_KEY,
    "TRACKER_CALLBACK_SECRET": f"{SECRET},{OLD_SECRET}",
    "TRACKER_API_TOKENS": f"{ALL},ro:{READS}",
    "TRACKER_PUBLIC_URL": "https://tracker.example",
    "TRACKER_DREAM_MACHINE_RATE": "1000/second",
    "TRACKER_AGENTS_RATE": "1000/second",
}


def shown_in(text: str) -> list[str]:
    """The names of the secrets that a text shows."""
    return [name for name, secret in SECRETS.items() if secret in text]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service with every secret there is, asked with the full token."""
    with target(tmp_path_factory.mktemp("secrets"), **SETTINGS) as one:
        one.http.headers["Authorization"] = f"Bearer {ALL}"
        yield one


def _post(running: Target, token: str, body: object) -> httpx.Response:
    url = f"/callbacks/{token}"
    if isinstance(body, bytes):
        return running.http.post(url, content=body)
    return running.http.post(url, json=body)


def _lived(running: Target) -> dict[str, str]:
    """Generations that Luma knows, and echoes the callback URL of."""
    luma, url = running.luma, f"{running.service.url}/callbacks/{REUSABLE}"
    luma.create(id="lived", callback_url=url, prompt="a sea")
    luma.create(id="fetched", callback_url=f"http://127.0.0.1:1/callbacks/{SINGLE}")
    luma.create(id="of-agents", upstream="agents", operation="image", prompt="a pea")
    luma.advance(120)
    answers = [
        _post(running, OLD, {"id": "odd", "state": "queued", "request": {"callback_url": THEIRS}}),
        _post(running, SINGLE, {"id": "one", "request": {"callback_url": [THEIRS, {"x": URL}]}}),
        _post(running, SINGLE, {"id": "two"}),
        _post(running, REUSABLE, b"no JSON, but " + URL.encode()),
        _post(running, REUSABLE, f'{{"id": 5, "callback_url": "{THEIRS}"}}'.encode()),
        _post(running, REUSABLE, {"id": "cl", "state": "completed", "callback_url": THEIRS}),
    ]
    for generation_id in ("lived", "fetched", "of-agents"):
        assert running.http.get(f"/v1/generations/{generation_id}").status_code == 200
    assert running.service.rows("SELECT request FROM generations WHERE id = 'lived'")
    return {"answers to callbacks": "".join(answer.text for answer in answers)}


def _asked(running: Target) -> dict[str, str]:
    """Every question there is."""
    http = running.http
    ids = [n for (n,) in running.service.rows("SELECT id FROM generations")]
    deliveries = [n for (n,) in running.service.rows("SELECT id FROM deliveries")]
    tools = [running.tool("get_generation", {"generation_id": n}) for n in ids]
    tools += [running.tool("list_generations", {}), running.rpc("tools/list", {})]
    paths = ["/v1/generations", "/v1/deliveries", "/v1/deliveries?outcome=kept", "/healthz"]
    paths += ["/v1/generations?format=ndjson", "/v1/generations?format=csv&fields=id,request"]
    paths += [f"/v1/generations/{n}" for n in ids] + [f"/v1/generations/{n}/events" for n in ids]
    answers = [http.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return {
        "REST": "".join(f"{answer.headers} {answer.text}" for answer in answers),
        "deliveries": "".join(http.get(f"/v1/deliveries/{n}").text for n in deliveries),
        "replays": "".join(http.post(f"/v1/deliveries/{n}/replay").text for n in deliveries),
        "MCP": "".join(f"{answer.headers} {answer.text}" for answer in tools),
        "metrics": http.get("/metrics").text,
        "openapi": http.get("/openapi.json").text + http.get("/docs").text,
    }


def _passed(running: Target) -> dict[str, str]:
    """What Luma's own clients are answered: from the store, from Luma, and while it is down."""
    http, list_ = running.http, "/dream-machine/v1/generations"
    ids = [n for (n,) in running.service.rows("SELECT id FROM generations")]
    paths = [f"{api}/generations/{n}" for api in ("/dream-machine/v1", "/agents/v1") for n in ids]
    paths += [list_, "/dream-machine/v1/credits", "/agents/v1/files", "/agents/v1/no/such"]
    answers = [http.get(path) for path in paths]
    for fault in (Fault(path=list_, status=500), Fault(path=list_, body=f"x {URL}".encode())):
        running.luma.fault(fault)
        answers.append(http.get(list_))
    assert {answer.status_code for answer in answers} == {200, 404}
    return {"gateway": "".join(f"{answer.headers} {answer.text}" for answer in answers)}


def _failed(running: Target) -> dict[str, str]:
    """Every error there is, those among them that nobody wants."""
    http = running.http
    answers = [
        http.get("/v1/generations/unknown"),
        http.get("/v1/generations/a b"),
        http.get("/v1/generations?limit=x"),
        http.get("/nowhere"),
        http.get("/v1/generations", headers={"Authorization": f"Bearer {READS}x"}),
        http.post("/v1/deliveries/x/replay", headers={"Authorization": f"Bearer {READS}"}),
        http.post("/mcp", headers={"Origin": "https://evil.example"}),
        http.post("/callbacks/wrong", content=URL.encode()),
    ]
    for fault in (Fault(status=401), Fault(status=500), Fault(body=b"<"), Fault(drop=True)):
        for _ in range(2):
            running.luma.fault(fault)
        answers.append(http.get(f"/v1/generations/unknown-{len(answers)}"))
    with at(running.database) as database:
        curse(database)
    answers.append(_post(running, REUSABLE, {"id": "bad", "request": {"callback_url": URL}}))
    with at(running.database) as database:
        lift(database)
    with locked(running.database):
        answers.append(_post(running, REUSABLE, {"id": "locked", "callback_url": URL}))
    answers.append(http.get("/v1/deliveries?generation_id=bad"))
    with connect(running.service.url) as connection:
        connection.sendall(f"GET /callbacks/{REUSABLE} HTTP/9.9\r\n\r\n".encode())
        garbage = connection.recv(65536).decode()
    assert "fold_failed" in running.service.said
    assert "database_failed" in running.service.said
    return {"errors": garbage + "".join(f"{answer.headers} {answer.text}" for answer in answers)}


def _printed(service: Service) -> dict[str, str]:
    """What commands print."""
    commands = [
        ("list", "--json"),
        ("get", "lived", "--json"),
        ("get", "unknown"),
        ("doctor", "--json"),
        ("replay", "--json"),
        ("events", "lived", "--json"),
        ("deliveries", "--json"),
        ("watch", "lived", "--json"),
    ]
    runs = dict[tuple[str, ...], str]()

    def run(*command: str) -> None:
        done = service.command(*command)
        runs[command] = done.stdout + done.stderr

    threads = [threading.Thread(target=run, args=command) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert '"lived"' in runs["get", "lived", "--json"]
    return {"commands": "".join(runs.values())}


SURFACES = {
    *("answers to callbacks", "REST", "deliveries", "replays", "MCP", "metrics", "openapi"),
    *("gateway", "errors", "commands", "the log"),
}


def test_no_surface_shows_a_secret(running: Target) -> None:
    """In a run in which everything happens, good and bad."""
    said = _lived(running)
    said |= _asked(running)
    said |= _passed(running)
    said |= _failed(running)
    said |= _printed(running.service)
    said["the log"] = running.service.said
    assert {surface for surface, text in said.items() if len(text) > 100} == SURFACES
    found = {surface: names for surface, text in said.items() if (names := shown_in(text))}
    # The gateway shows what creators told Luma as Luma does: their own URL, never one of ours.
    assert found == {"gateway": ["somebody's own callback URL"]}


def test_the_only_thing_that_prints_a_callback_url_is_the_command_for_it(running: Target) -> None:
    printed = running.service.command("callback-url")
    assert printed.stdout.strip() == URL
    assert shown_in(printed.stdout) == ["a reusable callback token"]
    assert shown_in(printed.stderr) == []


def test_what_the_inbox_keeps_is_for_nobody_else_to_read(running: Target) -> None:
    """It is kept byte for byte, so with the URL: the file is as secret as the URL is."""
    told = {"id": "kept", "state": "queued", "request": {"callback_url": THEIRS}}
    assert _post(running, OLD, told).status_code == 200
    kept = b"".join(body for (body,) in running.service.rows("SELECT body FROM deliveries"))
    assert THEIRS.encode() in kept
    [(request, document)] = running.service.rows(
        "SELECT request, document FROM generations WHERE id = 'kept'"
    )
    assert THEIRS in str(document)  # the gateway shows creators their own URL
    assert shown_in(str(request)) == []


WHERE = ["failure_reason", "state", "model", "generation_type", "request", "assets", "output"]


@pytest.mark.parametrize("field", WHERE)
def test_a_callback_url_anywhere_in_a_body_is_taken_out(running: Target, field: str) -> None:
    """Luma might say `Error processing callback {URL}`, or echo it under another name."""
    generation_id = f"url-in-{field}"
    told = f"Error processing callback {URL}, gave up"
    value = {"webhook": told, "list": [told], URL: "a name"} if field == "request" else told
    value = {"video": told} if field == "assets" else value
    _post(running, REUSABLE, {"id": generation_id, "state": "failed", field: value})
    [item] = running.http.get(f"/v1/deliveries?generation_id={generation_id}").json()["items"]
    texts = [
        running.http.get(f"/v1/generations/{generation_id}").text,
        running.http.get(f"/v1/generations?id={generation_id}").text,
        running.http.get(f"/v1/deliveries/{item['id']}").text,
        running.tool("get_generation", {"generation_id": generation_id}).text,
    ]
    assert generation_id in texts[0]
    assert [shown_in(text) for text in texts] == [[]] * 4


BROKEN = {
    "as it stands": URL,
    "the token alone": REUSABLE,
    "in a form": f"callback_url={quote(URL, safe='')}",
    "in JSON with escaped slashes, cut off": '{"callback_url": "' + URL.replace("/", r"\/"),
    "in JSON, cut off": '{"id": "x", "callback_url": "' + URL,
    "in a JSON string": f'"{URL}"',
    "in a JSON list": f'["{URL}"]',
    "somebody's own, cut off": '{"id": "x", "request": {"callback_url": "' + THEIRS,
    "after JSON": '{"id": "x"} ' + URL,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_callback_url_in_a_body_that_cannot_be_read_is_taken_out(
    running: Target, name: str
) -> None:
    answer = _post(running, REUSABLE, BROKEN[name].encode())
    newest = running.http.get("/v1/deliveries?limit=1").json()["items"][0]
    shown = running.http.get(f"/v1/deliveries/{newest['id']}")
    assert answer.status_code == 422
    assert shown.status_code == 200
    assert shown_in(answer.text + shown.text) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_a_callback_url_that_is_opened_rather_than_posted_to_is_not_repeated(
    running: Target, method: str
) -> None:
    """People paste it into a browser, and the answer into a ticket."""
    answer = running.http.request(method, f"/callbacks/{REUSABLE}")
    assert answer.status_code == 405
    assert shown_in(f"{answer.headers} {answer.text}") == []


@pytest.mark.parametrize("path", [f"/callbacks/{REUSABLE}/", f"/callbacks/x/{REUSABLE}"])
def test_a_callback_url_that_is_nearly_right_is_not_repeated(running: Target, path: str) -> None:
    answer = running.http.post(path, json={"id": "x"})
    assert answer.status_code == 404
    assert shown_in(f"{answer.headers} {answer.text}") == []


def test_a_key_that_an_upstream_repeats_in_its_error_goes_no_further(tmp_path: Path) -> None:
    open_ = {**SETTINGS, "TRACKER_API_TOKENS": "", "TRACKER_PUBLIC_URL": ""}
    with target(tmp_path, **open_) as running:
        texts = []
        for status in (400, 401, 404, 500, 429):
            for key, path in ((LUMA_KEY, "/dream-machine"), (AGENTS_KEY, "/agents")):
                body = f'{{"detail": "Invalid API key: {key}"}}'.encode()
                for method in ("GET", "POST"):
                    fault = Fault(status=status, body=body, path=path, method=method)
                    running.luma.fault(fault)
            texts.append(running.http.get(f"/v1/generations/unknown-{status}").text)
        texts.append(running.tool("get_generation", {"generation_id": "unknown-429"}).text)
        assert running.luma.count() == 10
        paths = [f"{api}/files" for api in ("/dream-machine/v1", "/agents/v1") for _ in range(5)]
        texts += [running.http.post(path).text for path in paths]
        assert any("Invalid API key: [redacted]" in text for text in texts)
        assert [shown_in(text) for text in [*texts, running.service.said]] == [[]] * 17


def test_settings_show_no_secret_however_they_are_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setitem(os.environ, name, value)
    settings = load_settings()
    assert settings.luma_api_key
    assert settings.luma_api_key.get_secret_value() == LUMA_KEY
    assert shown_in(f"{settings} {settings!r} {settings.model_dump()}") == []
    assert shown_in(settings.model_dump_json()) == []
