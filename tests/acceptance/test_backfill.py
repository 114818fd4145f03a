"""A backfill survives the end of whatever runs it, and the command line shows it."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.simulator import Fault, Luma, Plan
from tests.acceptance.conftest import UNASKED, Service, environment_for
from tests.databases import execute
from tests.launching import run
from tests.waiting import until

pytestmark = pytest.mark.thorough_on_postgres

LIST = "/dream-machine/v1/generations"
MANY = 750
ONE_KEY = {"LUMA_AGENTS_API_KEY": "", **UNASKED}
DONE, USAGE, REFUSED, UNREACHABLE, INTERRUPTED = 0, 2, 4, 5, 130
LONG_AGO = "2020-01-01 00:00:00.000000"


def fill(luma: Luma, count: int = MANY) -> None:
    for _ in range(count):
        luma.create(plan=Plan(0, 0))
    luma.fault(Fault(delay=0.1, times=None, method="GET", path=LIST))


def state(service: Service) -> dict[str, object]:
    shown: dict[str, object] = httpx.get(f"{service.url}/v1/backfill", timeout=20).json()
    return shown


def has_ended(service: Service) -> bool:
    return state(service)["state"] != "running"


def counts(service: Service) -> tuple[object, ...]:
    shown = state(service)
    return shown["state"], shown["seen"], shown["new"]


def abandoned(service: Service) -> None:
    """As if its owner had not reported for long."""
    execute(service.database, "UPDATE backfills SET heard_at = ?", LONG_AGO)


def test_a_walk_that_a_crash_cut_off_goes_on_by_itself(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    fill(luma)
    service = start_service(**ONE_KEY)
    assert httpx.post(f"{service.url}/v1/backfill", json={}, timeout=20).status_code == 202
    until(lambda: luma.count("GET", LIST) >= 3)
    service.kill()
    asked = luma.count("GET", LIST)
    abandoned(service)
    service.start()
    until(lambda: has_ended(service))
    assert counts(service) == ("done", MANY, MANY)
    assert service.rows("SELECT count(*) FROM generations") == [(MANY,)]
    assert luma.count("GET", LIST) - asked <= 9 - asked + 2, "it went on where it was"
    assert "backfill_continued" in service.said


@pytest.mark.thorough
def test_another_instance_continues_the_walk_of_one_that_died(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    fill(luma)
    dying, heir = start_service(**ONE_KEY), start_service(**ONE_KEY)
    httpx.post(f"{dying.url}/v1/backfill", json={}, timeout=20)
    until(lambda: luma.count("GET", LIST) >= 3)
    assert httpx.post(f"{heir.url}/v1/backfill", timeout=20).json()["state"] == "running"
    dying.kill()
    abandoned(heir)
    until(lambda: has_ended(heir))
    assert counts(heir) == ("done", MANY, MANY)
    assert luma.count("GET", LIST) <= 12


def test_a_service_that_is_stopped_leaves_its_walk_to_the_next(
    start_service: Callable[..., Service], luma: Luma
) -> None:
    fill(luma)
    service = start_service(**ONE_KEY)
    httpx.post(f"{service.url}/v1/backfill", timeout=20)
    until(lambda: luma.count("GET", LIST) >= 2)
    service.stop()
    service.start()
    until(lambda: has_ended(service))
    assert counts(service) == ("done", MANY, MANY)


def command(folder: Path, luma: Luma, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `luma-tracker backfill` without a service."""
    environment = environment_for(folder, luma)
    return run(["backfill", *arguments], environment=environment, folder=folder)


@pytest.mark.either_database
def test_the_command_stores_what_luma_lists(tmp_path: Path, luma: Luma) -> None:
    fill(luma, 250)
    first, second = command(tmp_path, luma), command(tmp_path, luma, "--json")
    assert first.returncode == second.returncode == DONE, first.stderr
    assert first.stdout == "dream_machine: done, 250 seen, 250 new, 3 pages\n"
    assert first.stderr == "", "progress is for terminals"
    shown = json.loads(second.stdout)
    assert (shown["state"], shown["pages"], shown["new"]) == ("done", 1, 0)
    assert json.loads(command(tmp_path, luma, "--all", "--json").stdout)["seen"] == 250
    assert json.loads(command(tmp_path, luma, "--since", "-1h", "--json").stdout)["seen"] == 0


@pytest.mark.thorough
@pytest.mark.either_database
@pytest.mark.parametrize(
    ("fault", "arguments", "code", "reason"),
    [
        (Fault(status=401, times=None), [], REFUSED, "LUMAAI_API_KEY"),
        (Fault(body=b"[]", times=None), [], REFUSED, "not with a list"),
        (None, ["--upstream", "agents"], REFUSED, "may have no list"),
        (Fault(status=503, times=None), [], UNREACHABLE, "503"),
        (None, ["--since", "soon"], USAGE, "-7d"),
        (None, ["--upstream", "sora"], USAGE, "dream_machine or agents"),
    ],
    ids=["refused", "no list", "agents", "down", "since", "upstream"],
)
def test_the_command_fails_with_the_reason_in_one_line(
    tmp_path: Path, luma: Luma, fault: Fault | None, arguments: list[str], code: int, reason: str
) -> None:
    if fault:
        luma.fault(fault)
    ended = command(tmp_path, luma, *arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    [line] = ended.stderr.splitlines()
    assert reason in line


@pytest.mark.either_database
@pytest.mark.thorough
def test_on_a_terminal_rate_and_time_left_are_shown_and_ctrl_c_can_be_continued(
    tmp_path: Path, luma: Luma
) -> None:
    fill(luma, 2_000)
    ours, theirs = pty.openpty()
    environment = {**environment_for(tmp_path, luma), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "backfill"],
        env={k: v for k, v in environment.items() if k not in ("NO_COLOR", "CI")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = _read_until(ours, re.compile(r"seen, \d+ new, \d+/s .*\d:\d\d:\d\d left"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    os.close(ours)
    assert process.returncode == INTERRUPTED, shown
    luma.clear_faults()
    continued = json.loads(command(tmp_path, luma, "--json").stdout)
    assert (continued["state"], continued["seen"]) == ("done", 2_000)


def _read_until(terminal: int, wanted: re.Pattern[str]) -> str:
    """What a program writes to a terminal, until it has written something, or for 20 s."""
    shown, deadline = "", time.monotonic() + 20
    while not wanted.search(shown):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536).decode()
    return shown
