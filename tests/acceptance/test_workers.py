"""Several processes on one socket: each answers what any was told, and each is replaced."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import KEYLESS, UNASKED, Service, environment_for
from tests.acceptance.talk import body_of, new_id
from tests.waiting import until

WORKERS = 2
STARTED = re.compile(r"event=worker_started pid=(\d+)")


def _started(service: Service) -> list[int]:
    return [int(pid) for pid in STARTED.findall(service.said)]


@pytest.fixture
def service(tmp_path: Path, luma: Luma) -> Iterator[Service]:
    """Two processes on a fresh store, that ask nobody."""
    service = Service(environment_for(tmp_path, luma, **KEYLESS, **UNASKED), tmp_path)
    service.start("--port", "0", "--workers", str(WORKERS))
    until(lambda: service.said.count("listening url=") == WORKERS)
    assert httpx.get(f"{service.url}/readyz", timeout=20).status_code == 200
    yield service
    service.stop()


def _taken(client: httpx.Client) -> list[str]:
    """What the process that answers on this connection has counted of callbacks."""
    told: str = client.get("/metrics").text
    return re.findall(r"^luma_tracker_callbacks_total.*$", told, re.MULTILINE)


def _of_another(service: Service, one: httpx.Client, clients: list[httpx.Client]) -> httpx.Client:
    """A connection to the process that `one` does not speak to, which counts its own callbacks."""
    before = [_taken(client) for client in clients]
    one.post(service.callback_path, json=body_of(new_id(), "queued"))
    after = [_taken(client) for client in clients]
    both = zip(clients, before, after, strict=True)
    return next(client for client, was, is_ in both if was == is_)


@pytest.fixture
def connections(service: Service) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """One that is kept open to each of them; of many that come at once, each takes some."""
    with ExitStack() as stack, ThreadPoolExecutor(32) as threads:
        clients = [
            stack.enter_context(httpx.Client(base_url=service.url, timeout=20)) for _ in range(32)
        ]
        assert {answer.status_code for answer in threads.map(_alive, clients)} == {200}
        yield clients[0], _of_another(service, clients[0], clients)


def _alive(client: httpx.Client) -> httpx.Response:
    return client.get("/healthz")


@pytest.mark.sqlite
def test_what_one_was_told_each_answers_at_once(
    service: Service, connections: tuple[httpx.Client, httpx.Client]
) -> None:
    one, other = connections
    for n in range(30):
        teller, reader = (one, other) if n % 2 else (other, one)
        generation_id = new_id()
        for state in ("queued", "dreaming", "completed"):
            told = teller.post(service.callback_path, json=body_of(generation_id, state))
            assert told.json() == {"outcome": "applied"}
            for client in (reader, teller):
                read = client.get(f"/v1/generations/{generation_id}").json()
                assert read["state"] == state
                listed = client.get(f"/v1/generations?id={generation_id}").json()
                assert [g["state"] for g in listed["items"]] == [state]


@pytest.mark.either_database
def test_one_that_dies_is_begun_anew_and_nobody_is_refused(service: Service) -> None:
    first = _started(service)
    assert len(first) == WORKERS
    os.kill(first[0], signal.SIGKILL)
    for _ in range(20):
        assert httpx.get(f"{service.url}/healthz", timeout=20).status_code == 200
    until(lambda: service.said.count("listening url=") == WORKERS + 1)
    assert f"pid={first[0]} code=-9" in service.said
    assert len(_started(service)) == WORKERS + 1


@pytest.mark.either_database
def test_a_hangup_restarts_all_in_place(service: Service) -> None:
    assert service.process.pid
    os.kill(service.process.pid, signal.SIGHUP)
    until(lambda: service.said.count("listening url=") == 2 * WORKERS)
    assert httpx.get(f"{service.url}/readyz", timeout=20).status_code == 200
    assert len(_started(service)) == WORKERS, "they are the same processes"


@pytest.mark.either_database
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_all_end_when_it_is_told_to(service: Service, sent: signal.Signals) -> None:
    pids = _started(service)
    os.kill(service.process.pid, sent)
    assert service.process.wait(timeout=15) == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert re.search(rf"pid={pid} code=(0|-15)\b", service.said), "or it had just begun"


@pytest.mark.either_database
def test_workers_that_cannot_start_are_not_started_for_ever(tmp_path: Path, luma: Luma) -> None:
    (tmp_path / "file").write_text("no folder")
    nowhere = f"sqlite:///{tmp_path}/file/tracker.db"
    environment = environment_for(tmp_path, luma, TRACKER_DATABASE_URL=nowhere)
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--workers", "2"]
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.decode().count("worker_started") <= 2 * WORKERS


@pytest.mark.either_database
def test_one_that_cannot_start_is_tried_again_while_the_other_serves(service: Service) -> None:
    first = _started(service)[0]
    settings = service.folder / ".env"
    settings.write_text("TRACKER_STALE_AFTER=soon\n")
    os.kill(first, signal.SIGKILL)
    until(lambda: service.said.count("code=2") == 2)
    assert httpx.get(f"{service.url}/readyz", timeout=20).status_code == 200
    settings.unlink()
    until(lambda: service.said.count("listening url=") == WORKERS + 1, seconds=20)
    assert httpx.get(f"{service.url}/readyz", timeout=20).status_code == 200
