"""Several processes on one socket: each answers what any was told, and each is replaced."""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma, ManualClock, Simulator
from tests.acceptance.conftest import KEYLESS, UNASKED, Service, environment_for
from tests.acceptance.talk import body_of, new_id
from tests.launching import launch
from tests.waiting import until

WORKERS = 2
STARTED = re.compile(r"event=worker_started pid=(\d+)")


class Pair(Service):
    """Two processes on one socket."""

    begun: int = 0
    """How much was logged before the current test."""

    def start_both(self) -> None:
        """Start them, and wait until both listen and one is ready."""
        self.start("--port", "0", "--workers", str(WORKERS))
        until(lambda: self.said.count("listening url=") == WORKERS)
        self.check_ready()

    def check_ready(self) -> None:
        """Assert that one of them is ready."""
        assert httpx.get(f"{self.url}/readyz", timeout=20).status_code == 200

    @property
    def pids(self) -> list[int]:
        """All that were ever started; the newest come last."""
        return [int(pid) for pid in STARTED.findall(self.said)]

    @property
    def said_now(self) -> str:
        """What was logged during the current test."""
        return self.said[self.begun :]


@contextmanager
def running(folder: Path) -> Iterator[Pair]:
    """Two on a fresh store, that ask nobody."""
    with Simulator(clock=ManualClock()).running() as luma:
        pair = Pair(environment_for(folder, luma, **KEYLESS, **UNASKED), folder)
        pair.start_both()
        yield pair
        pair.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two for tests to share: each leaves two that serve."""
    with running(tmp_path_factory.mktemp("pair")) as started:
        yield started


@pytest.fixture
def service(pair: Pair) -> Pair:
    """The same, as the test finds it."""
    pair.begun = len(pair.said)
    return pair


def _taken(client: httpx.Client) -> list[str]:
    """What the process that answers on this connection has counted of callbacks."""
    told: str = client.get("/metrics").text
    return re.findall(r"^luma_tracker_callbacks_total.*$", told, re.MULTILINE)


def _of_another(
    service: Pair, one: httpx.Client, clients: list[httpx.Client]
) -> httpx.Client | None:
    """A connection to the process that `one` does not speak to, which counts its own callbacks."""
    before = [_taken(client) for client in clients]
    one.post(service.callback_path, json=body_of(new_id(), "queued"))
    after = [_taken(client) for client in clients]
    both = zip(clients, before, after, strict=True)
    return next((client for client, was, is_ in both if was == is_), None)


@pytest.fixture
def connections(service: Pair) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """One that is kept open to each of them, as soon as both have started.

    Of many connections that come at once, each process takes some.
    """
    with ExitStack() as stack, ThreadPoolExecutor(32) as threads:

        def connected() -> tuple[httpx.Client, httpx.Client] | None:
            new = (httpx.Client(base_url=service.url, timeout=20) for _ in range(32))
            clients = [stack.enter_context(client) for client in new]
            assert {answer.status_code for answer in threads.map(_alive, clients)} == {200}
            other = _of_another(service, clients[0], clients)
            return (clients[0], other) if other else None

        yield until(connected)


def _alive(client: httpx.Client) -> httpx.Response:
    return client.get("/healthz")


@pytest.mark.thorough
@pytest.mark.sqlite
def test_what_one_was_told_each_answers_at_once(
    service: Pair, connections: tuple[httpx.Client, httpx.Client]
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
def test_one_that_dies_is_begun_anew_and_nobody_is_refused(service: Pair) -> None:
    victim, before = service.pids[-1], len(service.pids)
    os.kill(victim, signal.SIGKILL)
    for _ in range(20):
        assert httpx.get(f"{service.url}/healthz", timeout=20).status_code == 200
    until(lambda: service.said_now.count("listening url=") == 1)
    assert f"pid={victim} code=-9" in service.said_now
    assert len(service.pids) == before + 1


@pytest.mark.either_database
@pytest.mark.thorough
def test_a_hangup_restarts_all_in_place(service: Pair) -> None:
    before = service.pids
    assert service.process.pid
    os.kill(service.process.pid, signal.SIGHUP)
    until(lambda: service.said_now.count("listening url=") == WORKERS)
    service.check_ready()
    assert service.pids == before, "they are the same processes"


@pytest.mark.either_database
@pytest.mark.thorough
def test_one_that_cannot_start_is_tried_again_while_the_other_serves(service: Pair) -> None:
    settings = service.folder / ".env"
    settings.write_text("TRACKER_STALE_AFTER=soon\n")
    os.kill(service.pids[-1], signal.SIGKILL)
    until(lambda: service.said_now.count("code=2") == 2)
    service.check_ready()
    settings.unlink()
    until(lambda: service.said_now.count("listening url=") == 1, seconds=20)
    service.check_ready()


@pytest.mark.thorough
@pytest.mark.either_database
@pytest.mark.parametrize(
    "sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)]
)
def test_all_end_when_it_is_told_to(tmp_path: Path, sent: signal.Signals) -> None:
    with running(tmp_path) as service:
        pids = service.pids
        os.kill(service.process.pid, sent)
        assert service.process.wait(timeout=15) == 0
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
            assert re.search(rf"pid={pid} code=(0|-15)\b", service.said), "or it had just begun"


@pytest.fixture
def nowhere(tmp_path: Path, luma: Luma) -> Iterator[Pair]:
    """Two whose database cannot be made."""
    (tmp_path / "file").write_text("no folder")
    url = f"sqlite:///{tmp_path}/file/tracker.db"
    pair = Pair(environment_for(tmp_path, luma, TRACKER_DATABASE_URL=url), tmp_path)
    with pair.log.open("ab") as log:
        command = ("serve", "--port", "0", "--workers", str(WORKERS))
        pair.process = launch(command, environment=pair.environment, folder=tmp_path, stderr=log)
    until(lambda: len(pair.pids) == WORKERS)
    yield pair
    pair.kill()
    for pid in pair.pids:
        _send(pid, signal.SIGKILL)


def _send(pid: int, sent: signal.Signals) -> None:
    """Send a signal, unless the process has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, sent)


@pytest.mark.either_database
@pytest.mark.thorough
def test_workers_that_cannot_start_are_not_started_for_ever(nowhere: Pair) -> None:
    """Also if one of them fails while the other, which has failed before, is started again."""
    slow = nowhere.pids[1]
    _send(slow, signal.SIGSTOP)
    until(lambda: len(nowhere.pids) > WORKERS or nowhere.process.poll() is not None)
    again = nowhere.pids[-1]
    _send(again, signal.SIGSTOP)
    _send(slow, signal.SIGCONT)
    until(lambda: nowhere.said.count("code=1") >= WORKERS)
    _send(again, signal.SIGCONT)
    assert nowhere.process.wait(timeout=30) == 2
    assert len(nowhere.pids) <= 2 * WORKERS
