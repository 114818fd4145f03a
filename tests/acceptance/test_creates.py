"""Creates through a real service: its death, its end, hung-up callers, and Luma's own SDK."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from luma_agents import Luma as LumaAgents
from lumaai import LumaAI

from service.simulator import Fault, Luma, ManualClock, Plan, Simulator
from tests.acceptance.conftest import Service, environment_for
from tests.databases import locked
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

VIDEO = {"prompt": "a lake at sunset", "model": "ray-2"}
PATH = "/dream-machine/v1/generations/video"


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def tracker(tmp_path: Path, luma: Luma) -> Iterator[Service]:
    """A service that Luma can call back."""
    port = free_port()
    public = {"TRACKER_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    service = Service(environment_for(tmp_path, luma, **public), tmp_path)
    begin(service)
    yield service
    service.stop()


def begin(service: Service) -> None:
    """Start it where Luma expects it."""
    public = service.environment["TRACKER_PUBLIC_URL"]
    service.start("--port", public.rpartition(":")[2])
    httpx.get(f"{service.url}/healthz", timeout=20)


def create(service: Service, body: object = VIDEO, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{service.url}{PATH}", json=body, headers=sent, timeout=30)


def try_create(service: Service, **headers: str) -> None:
    """Create, and be cut off."""
    with pytest.raises(httpx.HTTPError):
        create(service, **headers)


def submission(service: Service, created: httpx.Response) -> dict[str, Any]:
    url = f"{service.url}/v1/submissions/{created.headers['x-submission-id']}"
    found: dict[str, Any] = httpx.get(url, timeout=20).json()
    return found


def under_way(luma: Luma, count: int = 1) -> bool:
    """Whether a create has reached Luma with its body."""
    return [bool(seen.body) for seen in luma.requests if seen.method == "POST"] == [True] * count


def test_a_create_that_was_under_way_at_kill_9_is_found_and_never_sent_again(
    tracker: Service, luma: Luma
) -> None:
    luma.deliver_callbacks = False
    luma.fault(Fault(method="POST", answer_delay=60))
    caller = threading.Thread(target=try_create, args=(tracker,), kwargs={"idempotency_key": "k"})
    caller.start()
    until(lambda: under_way(luma))
    tracker.kill()
    caller.join()
    begin(tracker)

    again = create(tracker, idempotency_key="k")

    until(lambda: create(tracker, idempotency_key="k").status_code == 201, 15)
    last = create(tracker, idempotency_key="k")
    assert again.status_code in (201, 504)
    assert last.headers["idempotency-replayed"] == "true"
    found = submission(tracker, last)
    assert (found["state"], found["generation_id"]) == ("accepted", last.json()["id"])
    assert luma.body(last.json()["id"])["request"]["prompt"] == VIDEO["prompt"]
    assert luma.count("POST") == 1


def test_the_answer_to_a_create_that_is_under_way_at_the_end_is_kept(
    tracker: Service, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=1.5))
    with ThreadPoolExecutor(1) as threads:
        creating = threads.submit(create, tracker, idempotency_key="k")
        until(lambda: under_way(luma))
        tracker.stop()
        first = creating.result()
    begin(tracker)
    again = create(tracker, idempotency_key="k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert luma.count("POST") == 1


def test_a_callback_before_the_answer_is_of_the_create(tracker: Service) -> None:
    hers = "https://hers.example/hook"
    simulator = Simulator(clock=ManualClock(), default_plan=Plan(queued=0, dreaming=1000))
    with simulator.running() as luma:
        tracker.stop()
        tracker.environment["TRACKER_DREAM_MACHINE_URL"] = luma.dream_machine_url
        begin(tracker)
        luma.fault(Fault(method="POST", answer_delay=0.2))
        frames = {"frame0": {"type": "generation", "id": "parent"}}
        answer = create(tracker, {**VIDEO, "callback_url": hers, "keyframes": frames})
        assert [attempt.status for attempt in luma.attempts] == [200]
        made = answer.json()["id"]
        assert answer.json()["request"]["callback_url"] == hers
        stored = httpx.get(f"{tracker.url}/v1/generations/{made}").json()
        assert (stored["parent_id"], stored["state"]) == ("parent", "dreaming")
        assert submission(tracker, answer)["generation_id"] == made
        [seen] = [each for each in luma.requests if each.method == "POST"]
        url = json.loads(seen.body)["callback_url"]
        forged = json.dumps({"id": "another", "state": "completed"})
        assert httpx.post(url, content=forged).status_code == 404
        assert url.rpartition("/")[2] not in tracker.said


def test_two_processes_send_one_key_once(
    tracker: Service, luma: Luma, start_service: Callable[..., Service]
) -> None:
    other = start_service()
    luma.fault(Fault(method="POST", answer_delay=0.3))
    both = [tracker, other] * 50
    with ThreadPoolExecutor(100) as threads:
        answers = [*threads.map(lambda each: create(each, idempotency_key="k"), both)]
    assert luma.count("POST") == 1
    assert {each.status_code for each in answers} == {201}
    assert len({each.content for each in answers}) == 1
    assert len({each.headers["x-submission-id"] for each in answers}) == 1


def test_luma_s_sdk_that_hangs_up_and_tries_again_buys_one_video(
    tracker: Service, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=1.5))
    client = LumaAI(auth_token="any", base_url=f"{tracker.url}/dream-machine/v1", timeout=1.0)

    made = client.generations.video.create(model="ray-2", prompt="a lake at sunset")

    assert luma.count("POST") == 1
    assert luma.body(str(made.id))["state"] == "queued"
    second = client.with_options(timeout=20).generations.video.create(
        model="ray-2", prompt="a lake at sunset"
    )
    assert second.id != made.id
    assert luma.count("POST") == 2


def test_the_agents_sdk_that_hangs_up_and_tries_again_buys_one_image(
    tracker: Service, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", answer_delay=1.5))
    client = LumaAgents(auth_token="any", base_url=f"{tracker.url}/agents/v1", timeout=1.0)
    made = client.generations.create(prompt="a lake at sunset")
    assert luma.body(str(made.id))["state"] == "queued"
    assert luma.count("POST") == 1


def test_luma_s_sdk_does_not_repeat_a_create_whose_answer_was_lost(
    tracker: Service, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", drop=True, processed=True))
    client = LumaAI(auth_token="any", base_url=f"{tracker.url}/dream-machine/v1")
    with pytest.raises(Exception, match="Error code: 504"):
        client.generations.video.create(model="ray-2", prompt="a lake at sunset")
    assert luma.count("POST") == 1


def test_luma_s_sdk_repeats_a_create_that_luma_refused_for_now(
    tracker: Service, luma: Luma
) -> None:
    luma.fault(Fault(method="POST", status=500))
    client = LumaAI(auth_token="any", base_url=f"{tracker.url}/dream-machine/v1")
    made = client.generations.video.create(model="ray-2", prompt="a lake at sunset")
    assert luma.body(str(made.id))
    assert luma.count("POST") == 2


def test_a_caller_that_has_gone_finds_its_answer_by_a_retry(tracker: Service, luma: Luma) -> None:
    luma.fault(Fault(method="POST", answer_delay=0.3))
    body = json.dumps(VIDEO).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    address = ("127.0.0.1", int(tracker.url.rpartition(":")[2]))
    with closing(socket.create_connection(address)) as caller:
        caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: under_way(luma))
    until(lambda: tracker.rows("SELECT count(*) FROM submissions WHERE state = 'accepted'")[0][0])

    retry = create(tracker, x_stainless_retry_count="1")
    until(lambda: tracker.rows("SELECT count(*) FROM submissions WHERE delivered")[0][0])
    late = create(tracker, x_stainless_retry_count="1")

    assert retry.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in late.headers, "the answer has reached it"
    assert luma.count("POST") == 2


def test_a_locked_database_sends_nothing_and_loses_no_answer(tracker: Service, luma: Luma) -> None:
    with locked(tracker.database):
        refused = create(tracker, idempotency_key="k")
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert [*refused.json()] == ["detail"]
    assert luma.count("POST") == 0

    luma.fault(Fault(method="POST", answer_delay=0.5))
    with ThreadPoolExecutor(1) as threads:
        creating = threads.submit(create, tracker, idempotency_key="k")
        until(lambda: under_way(luma))
        with locked(tracker.database):
            until(lambda: luma.requests[-1].status == 201)
        made = creating.result()
    assert made.status_code == 201
    assert create(tracker, idempotency_key="k").content == made.content
    assert submission(tracker, made)["state"] == "accepted"
