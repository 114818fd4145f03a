"""`callback-test`: each thing that can be wrong between Luma and the inbox is named."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.cli.findings import Level
from service.cli.reaching.answer import Answer, judged
from service.domain.generation import TEST_PREFIX
from tests.acceptance.conftest import Running
from tests.acceptance.test_creates import free_port
from tests.cli.conftest import Command
from tests.tls import certificate

pytestmark = pytest.mark.either_database

DONE, FAILED = 0, 1


def tried(running: Running, url: str, **given: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by what they are about."""
    run = Command(running, "database")("callback-test", "--url", url, "--json", **given)
    assert run.stdout, run.stderr
    return run.returncode, {each["about"].split()[0]: each for each in json.loads(run.stdout)}


def wrong(running: Running, url: str, about: str, **given: str) -> str:
    """What is said about the only step that is wrong; it is the last."""
    code, findings = tried(running, url, **given)
    assert code == FAILED, findings
    assert list(findings)[-1] == about, findings
    assert [each["about"].split()[0] for each in findings.values() if each["level"] == "error"] == [
        about
    ]
    message: str = findings[about]["message"]
    return message


def test_all_is_well_where_a_service_answers(keyless: Running) -> None:
    before = keyless.http.get("/v1/events?after=now").json()["next_cursor"]

    code, findings = tried(keyless, keyless.service.url)

    assert code == DONE, findings
    assert list(findings) == ["name", "connection", "answer", "inbox"]
    assert findings["name"]["level"] == "warning", "127.0.0.1 is no address for Luma"
    assert findings["name"]["message"].startswith("127.0.0.1: no public address")
    assert {each["level"] for each in [*findings.values()][1:]} == {"ok"}
    assert keyless.http.get("/v1/events?after=now").json()["next_cursor"] == before
    assert keyless.http.get("/v1/generations").json()["items"] == [], "nothing is left of it"
    assert keyless.http.get("/v1/deliveries").json()["items"] == []


def test_a_test_tells_nothing_even_if_it_stays(keyless: Running) -> None:
    body = {"id": f"{TEST_PREFIX}1", "state": "completed"}

    answers = [keyless.http.post(keyless.callback_url, json=body) for _ in range(2)]
    [delivery] = keyless.http.get("/v1/deliveries").json()["items"]
    replayed = keyless.http.post(f"/v1/deliveries/{delivery['id']}/replay").json()

    assert [(each.status_code, each.json()) for each in answers] == [
        (200, {"outcome": "unchanged"})
    ] * 2
    assert (delivery["generation_id"], delivery["duplicates"]) == (body["id"], 1)
    assert replayed["outcome"] == "unchanged"
    assert keyless.http.get("/v1/generations").json()["items"] == []
    keyless.service.rows("DELETE FROM deliveries")


def test_without_a_public_url_it_says_so_and_tries_this_machine(keyless: Running) -> None:
    port = keyless.service.url.rpartition(":")[2]

    run = keyless.service.command("callback-test", TRACKER_PORT=port)

    assert run.returncode == DONE
    first, *others = run.stdout.splitlines()
    assert first.startswith("warning public URL: TRACKER_PUBLIC_URL is not set")
    assert others
    assert not [line for line in others if not line.startswith("ok ")]


def test_another_secret_and_another_database_are_told_apart(
    keyless: Running, shared: Running, tmp_path: Path
) -> None:
    secret = {"TRACKER_CALLBACK_SECRET": "another-secret-of-these-tests"}

    assert "TRACKER_CALLBACK_SECRET" in wrong(keyless, keyless.service.url, "answer", **secret)
    assert "TRACKER_DATABASE_URL" in wrong(keyless, shared.service.url, "inbox")


def test_a_name_without_address_and_a_port_without_listener(keyless: Running) -> None:
    assert "no address" in wrong(keyless, "https://nobody.invalid", "name")
    assert "nobody listens" in wrong(keyless, f"http://127.0.0.1:{free_port()}", "connection")


def test_a_certificate_that_nobody_trusts_and_a_port_without_tls(
    keyless: Running, tmp_path: Path
) -> None:
    with listening(200, tls=tmp_path) as url:
        untrusted = wrong(keyless, url, "connection")
    with listening(200) as url:
        plain = wrong(keyless, url.replace("http:", "https:"), "connection")

    assert "certificate of localhost is not accepted" in untrusted
    assert "speaks no TLS" in plain


def test_a_body_that_is_rewritten_on_the_way_is_noticed(keyless: Running) -> None:
    def rewrite(path: str, body: bytes) -> tuple[int, bytes]:
        changed = json.dumps({**json.loads(body), "state": "dreaming"})
        answer = httpx.post(f"{keyless.service.url}{path}", content=changed)
        return answer.status_code, answer.content

    with listening(200, answered=rewrite) as url:
        assert "another body" in wrong(keyless, url, "inbox")


def test_what_hangs_up_gives_no_answer(keyless: Running) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def hang_up() -> None:
            for _ in range(2):
                listener.accept()[0].close()

        closer = threading.Thread(target=hang_up)
        closer.start()
        said = wrong(keyless, f"http://127.0.0.1:{listener.getsockname()[1]}", "answer")
        closer.join(timeout=10)

    assert "not answered" in said


def answer(status: int, body: bytes = b"", seconds: float = 0.1, **headers: str) -> Answer:
    return Answer(status, headers, body, seconds)


OURS = json.dumps({"type": "urn:luma-tracker:unavailable", "detail": "Locked."}).encode()
OUTCOME = b'{"outcome":"unchanged"}'


@pytest.mark.parametrize(
    ("given", "level", "says"),
    [
        (answer(200, OUTCOME), Level.OK, "after 0.10 s"),
        (answer(200, OUTCOME, 3), Level.WARNING, "slow"),
        (answer(200, OUTCOME, 6), Level.ERROR, "too late"),
        (answer(200, b"<html>"), Level.ERROR, "something else answers"),
        (
            answer(301, location="https://b.example/callbacks/t"),
            Level.ERROR,
            "to https://b.example:",
        ),
        (answer(401), Level.ERROR, "sign-in"),
        (answer(403, b"<html>"), Level.ERROR, "firewall"),
        (answer(404, b"<html>"), Level.ERROR, "does not pass /callbacks/"),
        (answer(413), Level.ERROR, "1 MiB"),
        (answer(502), Level.ERROR, "luma-tracker serve"),
        (answer(204), Level.ERROR, "only 200"),
        (answer(418), Level.ERROR, "log of the proxy"),
        (answer(503, OURS), Level.ERROR, "503 from luma-tracker: Locked."),
    ],
    ids=lambda each: str(each.status) if isinstance(each, Answer) else "",
)
def test_each_answer_has_its_advice(given: Answer, level: Level, says: str) -> None:
    finding = judged(given)

    assert finding.level is level
    assert says in finding.message


@contextmanager
def listening(status: int, *, tls: Path | None = None, answered: Any = None) -> Iterator[str]:
    """Something that answers every POST."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            code, content = answered(self.path, body) if answered else (status, b"")
            self.send_response(code)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(tls))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        name = "https://localhost" if tls else "http://127.0.0.1"
        yield f"{name}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()
