"""A restart loses nothing: the socket stays, and callbacks wait in its queue."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.simulator import Luma
from tests.acceptance.conftest import UNASKED, Service, environment_for
from tests.thoroughness import rounds
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

RESTARTS, RELOADS = 10, rounds(3, 10)  # each reload starts the interpreter twice
FINISHING = 120  # generations that finish during all of them


def _restarted(
    service: Service, restart: Callable[[], None], luma: Luma, url: str, times: int
) -> set[str]:
    """Restart again and again while generations finish; answers their ids."""
    ids = set()
    for n in range(1, times + 1):
        made = {luma.create(callback_url=url) for _ in range(FINISHING // times)}
        restarting = threading.Thread(target=restart)
        restarting.start()
        luma.advance(60)
        restarting.join()
        begun = n + 1
        until(lambda begun=begun: service.said.count("listening url=") >= begun)  # type: ignore[misc]
        ids |= made
    return ids


def _missing(service: Service, ids: set[str]) -> set[str]:
    """Those whose final state the store does not have."""
    rows = service.rows("SELECT id FROM generations WHERE state = 'completed'")
    return ids - {generation_id for (generation_id,) in rows}


@pytest.mark.either_database
@pytest.mark.thorough
def test_reloads_under_callbacks_lose_no_final_state(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    """SIGHUP, without any key: nothing is asked, so only callbacks can have told."""
    service = start_service(LUMAAI_API_KEY="", LUMA_AGENTS_API_KEY="")
    url, process_id = service.callback_url, service.process.pid

    ids = _restarted(service, lambda: os.kill(process_id, signal.SIGHUP), luma, url, RELOADS)

    assert _missing(service, ids) == set()
    assert service.process.poll() is None
    assert httpx.get(f"{service.url}/readyz").status_code == 200


@pytest.fixture
def held_socket() -> Iterator[socket.socket]:
    """A listening socket that outlives the services, as a supervisor's does."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held


@pytest.mark.thorough
def test_ten_restarts_behind_a_supervisors_socket_lose_no_final_state(
    tmp_path: Path, luma: Luma, held_socket: socket.socket
) -> None:
    environment = environment_for(tmp_path, luma, LUMAAI_API_KEY="", LUMA_AGENTS_API_KEY="")
    service = Service(environment, tmp_path)
    fd = held_socket.fileno()

    def start() -> None:
        service.start("--fd", str(fd), pass_fds=(fd,))

    def restart() -> None:
        service.stop()
        start()

    start()
    try:
        ids = _restarted(service, restart, luma, service.callback_url, RESTARTS)
        assert _missing(service, ids) == set()
    finally:
        service.stop()


@pytest.mark.either_database
@pytest.mark.thorough
def test_systemds_variables_hand_the_socket_over(
    tmp_path: Path, luma: Luma, held_socket: socket.socket
) -> None:
    """LISTEN_PID must be the process's own, so a shell sets it and becomes the service."""
    environment = environment_for(tmp_path, luma)
    fd = held_socket.fileno()
    service = Service(environment, tmp_path)
    service.start_by_shell(f"exec 3<&{fd}; LISTEN_FDS=1 LISTEN_PID=$$ exec", pass_fds=(fd,))
    try:
        assert service.url.endswith(f":{held_socket.getsockname()[1]}")
        assert httpx.get(f"{service.url}/healthz").status_code == 200
    finally:
        service.stop()


def test_a_request_that_comes_before_the_service_is_up_waits_for_it(
    start_service: Callable[..., Service],
) -> None:
    """The first line is logged before the database is made; what it names can be asked at once."""
    service = start_service(**UNASKED)
    assert httpx.get(f"{service.url}/readyz", timeout=20).status_code == 200


def test_who_waits_for_a_generation_is_answered_when_the_service_stops(
    service: Service, luma: Luma
) -> None:
    generation_id = luma.create()
    answers: list[httpx.Response] = []

    def wait() -> None:
        url = f"{service.url}/v1/generations/{generation_id}?wait=60"
        answers.append(httpx.get(url, timeout=70))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: luma.count("GET") > 0)
    service.stop()
    waiting.join(timeout=10)

    assert answers
    assert answers[0].json()["state"] == "queued"


@pytest.mark.either_database
@pytest.mark.thorough
def test_a_service_that_is_told_to_end_while_it_reloads_ends(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**UNASKED)
    os.kill(service.process.pid, signal.SIGHUP)
    os.kill(service.process.pid, signal.SIGTERM)
    assert service.process.wait(timeout=15) in (0, -signal.SIGTERM)


@pytest.mark.either_database
@pytest.mark.thorough
def test_a_reload_with_a_typo_in_a_setting_is_refused_and_one_without_works(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**UNASKED)
    settings = service.folder / ".env"

    settings.write_text("TRACKER_STALE_AFTER=soon\n")
    os.kill(service.process.pid, signal.SIGHUP)
    until(lambda: "event=reload_refused" in service.said)
    assert "TRACKER_STALE_AFTER" in service.said.partition("event=reload_refused")[2]
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    assert service.said.count("listening url=") == 1

    settings.write_text("TRACKER_STALE_AFTER=60\n")
    os.kill(service.process.pid, signal.SIGHUP)
    until(lambda: service.said.count("listening url=") == 2)
    assert httpx.get(f"{service.url}/readyz").status_code == 200


@pytest.mark.thorough
@pytest.mark.either_database
def test_an_archive_that_cannot_be_opened_stops_a_start_and_a_reload_with_one_line(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(**UNASKED)
    file = service.folder / "a file"
    file.touch()
    for command in (["serve", "--port", "0"], ["serve", "--check"], ["mcp"], ["archive"]):
        refused = service.command(*command, TRACKER_ARCHIVE=str(file))
        assert (refused.returncode, refused.stdout) == (2, ""), command
        [line] = refused.stderr.splitlines()
        assert "TRACKER_ARCHIVE: " in line

    (service.folder / ".env").write_text("TRACKER_ARCHIVE=az://account/container\n")
    os.kill(service.process.pid, signal.SIGHUP)
    until(lambda: "event=reload_refused" in service.said)
    assert "TRACKER_ARCHIVE" in service.said.partition("event=reload_refused")[2]
    assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_a_check_says_whether_a_start_would_succeed(start_service: Callable[..., Service]) -> None:
    """While the service runs: the check listens on nothing."""
    service = start_service(**UNASKED)
    assert service.command("serve", "--check").returncode == 0
    bad = service.command("serve", "--check", TRACKER_PORT="many")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "TRACKER_PORT" in bad.stderr
