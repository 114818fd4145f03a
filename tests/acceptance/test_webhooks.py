"""Webhooks that we send, from outside: real receivers, real processes, and what kills them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import (
    KEYLESS,
    UNASKED,
    Running,
    Service,
    environment_for,
    run_service,
)
from tests.acceptance.talk import body_of, call_back, eventually, new_id, problem_in, rows, told
from tests.databases import at, on_postgres
from tests.endpoints import SECRETS, Answer, EndpointServer, serving_endpoints

pytestmark = pytest.mark.thorough_on_postgres

OPEN = {"TRACKER_WEBHOOK_ALLOW": "127.0.0.0/8", "TRACKER_WEBHOOK_SECRET": SECRETS[0]}
RESENT_WITHIN = 15.0  # seconds after the process died


@pytest.fixture(scope="module")
def server() -> Iterator[EndpointServer]:
    with serving_endpoints() as running:
        yield running


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that may send to this machine."""
    with run_service(tmp_path_factory.mktemp("sending"), **OPEN) as running:
        yield running


@pytest.fixture
def path() -> str:
    """A path of the test's own."""
    return f"/{new_id()}"


def subscribe(running: Running, url: str, **wanted: Any) -> str:
    """Add an endpoint; returns its id."""
    answer = running.http.post("/v1/webhooks", json={"url": url, **wanted})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def attempts_of(running: Running, webhook_id: str) -> list[dict[str, Any]]:
    """All attempts, oldest first."""
    answer = running.http.get(f"/v1/webhooks/{webhook_id}/attempts", params={"limit": 200})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items[::-1]


def test_a_webhook_is_added_shown_listed_and_deleted(
    sending: Running, server: EndpointServer
) -> None:
    wanted = {"url": server.url("/crud"), "states": ["completed"], "q": "a lake"}
    made = sending.http.post("/v1/webhooks", json=wanted)
    assert made.status_code == 201
    shown = made.json()
    assert shown == {
        "id": shown["id"],
        "created_at": shown["created_at"],
        "enabled": True,
        "generation_id": None,
        **wanted,
    }
    assert sending.http.get(f"/v1/webhooks/{shown['id']}").json() == shown
    assert shown in sending.http.get("/v1/webhooks").json()["items"]
    gone = sending.http.delete(f"/v1/webhooks/{shown['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/attempts")):
        problem_in(sending.http.request(method, f"/v1/webhooks/{shown['id']}{rest}"), 404)


@pytest.mark.parametrize(
    "wanted",
    [
        *({}, {"url": 1}, {"url": "hooks.example"}, {"url": "ftp://hooks.example/"}),
        *({"url": "http://10.0.0.1/"}, {"url": "http://[::1]/"}, {"url": "http://0xa000001/"}),
        *({"url": "https://me:secret@hooks.example/"}, {"url": "https://hooks.example:0/"}),
        {"url": "https://hooks.example/", "states": []},
        {"url": "https://hooks.example/", "states": ["done"]},
        {"url": "https://hooks.example/", "secret": "x"},
        {"url": "https://hooks.example/", "generation_id": "../etc"},
        [],
    ],
)
def test_a_webhook_that_makes_no_sense_is_422(sending: Running, wanted: Any) -> None:
    problem_in(sending.http.post("/v1/webhooks", json=wanted), 422)
    assert problem_in(sending.http.post("/v1/webhooks?x=1", json={}), 422)


def test_a_state_is_sent_once_within_two_seconds_of_its_callback(
    sending: Running, server: EndpointServer, path: str
) -> None:
    webhook_id = subscribe(sending, server.url(path))
    begun = time.monotonic()
    generation_id = told(sending, "dreaming")
    eventually(lambda: server.received(path), "the message", within=2)
    assert time.monotonic() - begun < 2
    call_back(sending, body_of(generation_id))
    call_back(sending, body_of(generation_id))
    eventually(lambda: len(attempts_of(sending, webhook_id)) == 2, "both messages")

    first, second = server.received(path)
    shown = second.verify()
    assert first.verify()["type"] == "generation.dreaming"
    assert shown["type"] == "generation.completed"
    assert shown["data"] == sending.http.get(f"/v1/generations/{generation_id}").json()
    assert [set(attempt) for attempt in attempts_of(sending, webhook_id)] == [
        {"id", "generation_id", "webhook_id", "at", "state", "status", "error", "next_at"}
    ] * 2


def test_attempts_are_paged_and_replayed(
    sending: Running, server: EndpointServer, path: str
) -> None:
    webhook_id = subscribe(sending, server.url(path), states=["completed"])
    for _ in range(3):
        told(sending)
    eventually(lambda: len(attempts_of(sending, webhook_id)) == 3, "three attempts")
    base = f"/v1/webhooks/{webhook_id}/attempts"
    first = sending.http.get(base, params={"limit": 2}).json()
    rest = sending.http.get(base, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)
    assert len({item["id"] for item in first["items"] + rest["items"]}) == 3

    oldest = rest["items"][0]
    again = sending.http.post(f"{base}/{oldest['id']}/replay").json()
    assert (again["status"], again["generation_id"]) == (200, oldest["generation_id"])
    sent = [r.id for r in server.received(path) if r.body["data"]["id"] == again["generation_id"]]
    assert len(sent) == 2
    assert len(set(sent)) == 1
    problem_in(sending.http.post(f"{base}/{new_id()}/replay"), 404)
    problem_in(sending.http.get(base, params={"nope": 1}), 422)


def test_a_test_is_sent_now_and_its_attempt_is_the_answer(
    sending: Running, server: EndpointServer, path: str
) -> None:
    webhook_id = subscribe(sending, server.url(path))
    server.answers[path].append(Answer(500, body=b"<html>\nbroken"))
    failed = sending.http.post(f"/v1/webhooks/{webhook_id}/test").json()
    assert (failed["status"], failed["error"]) == (500, "Answered 500: <html> broken")
    assert (failed["state"], failed["generation_id"], failed["next_at"]) == ("test", None, None)
    passed = sending.http.post(f"/v1/webhooks/{webhook_id}/test").json()
    assert (passed["status"], passed["error"]) == (200, None)
    assert server.received(path)[-1].verify()["data"] == {"webhook_id": webhook_id}


def test_a_slow_endpoint_does_not_delay_another(
    sending: Running, server: EndpointServer, path: str
) -> None:
    server.usual[f"{path}/slow"] = Answer(held=True)
    slow = subscribe(sending, server.url(f"{path}/slow"), states=["completed"])
    subscribe(sending, server.url(f"{path}/fast"), states=["completed"])
    try:
        for _ in range(40):
            told(sending)
        eventually(lambda: len(server.received(f"{path}/fast")) == 40, "all of them", within=5)
        asked = [each.at for each in server.received(f"{path}/slow")]
        at_once = [at for at in asked if at < asked[0] + 8]  # then the first are given up
        assert len(at_once) <= 8
    finally:
        sending.http.delete(f"/v1/webhooks/{slow}")


def test_creators_attempts_are_seen_without_their_url(
    sending: Running, server: EndpointServer, path: str
) -> None:
    generation_id = told(sending, "dreaming")
    server.answers[path].append(Answer(500, body=b"hunter2"))
    with at(sending.database) as connection:
        connection.exec_driver_sql(
            f"UPDATE generations SET callback_url = '{server.url(path)}?key=hunter2' "  # noqa: S608
            f"WHERE id = '{generation_id}'"
        )
    server.answers[f"{path}?key=hunter2"].append(Answer(500, body=b"hunter2"))
    call_back(sending, body_of(generation_id))

    def mine() -> list[dict[str, Any]]:
        found = attempts_of(sending, "creators")
        return [each for each in found if each["generation_id"] == generation_id]

    [attempt] = eventually(mine, "the attempt")
    assert (attempt["webhook_id"], attempt["status"]) == ("creators", 500)
    assert "hunter2" not in str(attempt)
    replayed = sending.http.post(f"/v1/webhooks/creators/attempts/{attempt['id']}/replay").json()
    assert replayed["status"] == 200
    assert server.received(f"{path}?key=hunter2")[-1].verify()["id"] == generation_id
    assert "hunter2" not in sending.service.said


def test_metrics_and_doctor_know_of_it(sending: Running, server: EndpointServer, path: str) -> None:
    webhook_id = subscribe(sending, server.url(path), states=["failed"])
    server.answers[path].append(Answer(410))
    told(sending, "failed")
    eventually(lambda: attempts_of(sending, webhook_id), "an attempt")

    text = sending.http.get("/metrics").text
    assert 'luma_tracker_webhook_attempts_total{outcome="gone"}' in text
    assert "luma_tracker_webhook_lag_seconds" in text
    assert not sending.http.get(f"/v1/webhooks/{webhook_id}").json()["enabled"]
    said = sending.service.command("doctor").stdout
    assert "1 endpoint(s) answered 410 and are disabled" in said
    sending.http.delete(f"/v1/webhooks/{webhook_id}")


def test_the_commands_do_the_same(sending: Running, server: EndpointServer, path: str) -> None:
    service = sending.service
    added = service.command("webhooks", "add", server.url(path), "--state", "completed", "--json")
    assert added.returncode == 0, added.stderr
    webhook_id = json.loads(added.stdout)["id"]
    assert webhook_id in service.command("webhooks", "list").stdout
    generation_id = told(sending)
    [attempt] = eventually(lambda: attempts_of(sending, webhook_id), "an attempt")
    listed = service.command("webhooks", "attempts", webhook_id)
    assert f"{attempt['id']}\t" in listed.stdout
    assert generation_id in listed.stdout
    replayed = service.command("webhooks", "replay", webhook_id, attempt["id"], "--json")
    assert json.loads(replayed.stdout)["status"] == 200
    assert service.command("webhooks", "secret").stdout.strip() == SECRETS[0]
    assert service.command("webhooks", "remove", webhook_id).returncode == 0
    assert service.command("webhooks", "remove", webhook_id).returncode == 3
    assert service.command("webhooks", "add", "http://10.0.0.1/").returncode == 2


@pytest.fixture
def killable(tmp_path: Path, luma: Luma) -> Iterator[Callable[[], Running]]:
    """Starts a service on the test's own store, again after it was killed."""
    given = {**UNASKED, **KEYLESS, **OPEN}
    service = Service(environment_for(tmp_path, luma, **given), tmp_path)

    with ExitStack() as opened:

        def start() -> Running:
            service.start()
            client = opened.enter_context(httpx.Client(base_url=service.url, timeout=30))
            return Running(service, luma, client)

        yield start
        service.kill()


@pytest.mark.thorough
def test_what_was_claimed_or_under_way_at_kill_9_is_sent_again(
    killable: Callable[[], Running], server: EndpointServer, path: str
) -> None:
    running = killable()
    webhook_id = subscribe(running, server.url(path), states=["completed"])
    server.answers[path].append(Answer(held=True))
    generation_id = told(running)
    eventually(lambda: server.received(path), "the first try")
    running.service.kill()  # sent, and not recorded
    begun = time.monotonic()
    running = killable()
    eventually(lambda: len(server.received(path)) == 2, "the second", within=RESENT_WITHIN)
    assert time.monotonic() - begun < RESENT_WITHIN

    first, second = server.received(path)
    assert first.id == second.id
    assert first.raw == second.raw
    assert second.verify()["data"]["id"] == generation_id
    eventually(lambda: len(attempts_of(running, webhook_id)) == 1, "its attempt")
    done = "SELECT outcome FROM outbox WHERE webhook_id = ?"
    assert rows(running.database, done, webhook_id) == [("delivered",)]


@pytest.mark.thorough
def test_what_was_written_and_not_claimed_at_kill_9_is_sent(
    killable: Callable[[], Running], server: EndpointServer, path: str
) -> None:
    running = killable()
    subscribe(running, server.url(path), states=["completed"])
    stop = threading.Event()
    acknowledged = list[str]()

    def storm() -> None:
        while not stop.is_set():
            try:
                acknowledged.append(told(running))
            except Exception:  # noqa: BLE001 - it was killed
                return

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 40, "many callbacks")
    running.service.kill()
    stop.set()
    for thread in threads:
        thread.join()
    running = killable()

    def sent() -> bool:
        found = {each.body["data"]["id"] for each in server.received(path)}
        return found.issuperset(acknowledged)

    eventually(sent, "a message for each acknowledged callback", within=RESENT_WITHIN + 5)


def test_two_instances_send_each_message_once(
    tmp_path: Path, luma: Luma, server: EndpointServer, path: str
) -> None:
    given = {**UNASKED, **KEYLESS, **OPEN}
    services = [Service(environment_for(tmp_path, luma, **given), tmp_path) for _ in range(2)]
    with ExitStack() as opened:
        for service in services:
            service.start()
            opened.callback(service.stop)
        clients = [
            opened.enter_context(httpx.Client(base_url=service.url, timeout=30))
            for service in services
        ]
        pair = [Running(*both) for both in zip(services, [luma] * 2, clients, strict=True)]
        subscribe(pair[0], server.url(path))
        ids = [new_id() for _ in range(30)]
        for state in ("queued", "dreaming", "completed"):
            for number, id_ in enumerate(ids):
                answer = call_back(pair[number % 2], body_of(id_, state))
                assert answer.status_code == 200
        eventually(lambda: len(server.received(path)) >= 90, "all messages")
        waiting = "SELECT count(*) FROM outbox WHERE next_at IS NOT NULL"
        eventually(lambda: rows(services[0].database, waiting) == [(0,)], "the end")

    received = server.received(path)
    assert len({each.id for each in received}) == len(received) == 90
    for id_ in ids:
        states = [r.body["data"]["state"] for r in received if r.body["data"]["id"] == id_]
        assert states == ["queued", "dreaming", "completed"]


def test_without_a_secret_on_postgresql_nothing_can_be_added_and_the_error_names_it(
    tmp_path: Path,
) -> None:
    with run_service(tmp_path, TRACKER_WEBHOOK_ALLOW="127.0.0.0/8") as running:
        answer = running.http.post("/v1/webhooks", json={"url": "http://127.0.0.1/"})
        if on_postgres():
            assert "TRACKER_WEBHOOK_SECRET" in problem_in(answer, 503)["detail"]
            return
        assert answer.status_code == 201
        kept = running.service.environment["TRACKER_DATABASE_URL"].removeprefix("sqlite:///")
        secret = Path(kept).with_name("webhook.secret")
        assert secret.stat().st_mode & 0o777 == 0o600
        assert secret.read_text() == running.service.command("webhooks", "secret").stdout.strip()
