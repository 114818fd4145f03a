"""`watch`: what it follows, what it prints, when and how it ends."""

import io
import json
import os
import pty
import re
import select
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from service.cli.backend.contract import Filters, Reply
from service.cli.watching.table import LiveTable
from service.cli.watching.usual import Usual
from service.simulator import Fault
from tests.acceptance.conftest import Running
from tests.acceptance.talk import body_of, call_back, new_id
from tests.acceptance.talk import told as tell
from tests.cli.conftest import Command
from tests.launching import launch
from tests.waiting import until

pytestmark = pytest.mark.either_database

DONE, FAILED, NOT_FOUND, UNREACHABLE, RAN_OUT, INTERRUPTED = 0, 1, 3, 5, 124, 130


def begun(running: Running, **given: Any) -> str:
    """The id of a generation that has begun just now."""
    return tell(running, "dreaming", created_at=datetime.now(UTC).isoformat(), **given)


def test_it_prints_a_line_per_change_and_ends_when_all_are_terminal(told: Command) -> None:
    first, second = begun(told.running), begun(told.running)
    watching = told.start("watch", first, second)
    until(lambda: len(watching.lines) == 2)

    call_back(told.running, body_of(first))
    until(lambda: len(watching.lines) == 3)
    call_back(told.running, body_of(second, "failed"))

    assert watching.end() == FAILED
    assert watching.errors == ""
    lines = [line.split("\t") for line in watching.lines]
    states = [(line[0], line[1]) for line in lines]
    assert set(states[:2]) == {(first, "dreaming"), (second, "dreaming")}
    assert states[2:] == [(first, "completed"), (second, "failed")]
    assert lines[2][3].startswith("https://")
    assert lines[3][3] == body_of(second, "failed")["failure_reason"]


def test_json_is_the_generation_at_each_change(told: Command) -> None:
    generation_id = begun(told.running)
    watching = told.start("watch", generation_id, "--json", "--wait")
    until(lambda: len(watching.lines) == 1)

    call_back(told.running, body_of(generation_id))

    assert watching.end() == DONE
    shown = [json.loads(line) for line in watching.lines]
    assert [each["state"] for each in shown] == ["dreaming", "completed"]
    assert shown[1] == told.running.http.get(f"/v1/generations/{generation_id}").json()


def test_without_ids_all_that_are_open_are_watched_and_those_that_begin(
    told: Command,
) -> None:
    old, new = begun(told.running), new_id()
    over = tell(told.running)
    watching = told.start("watch", "--json")
    until(lambda: any(old in line for line in watching.lines))

    call_back(told.running, body_of(new, "dreaming"))
    until(lambda: any(new in line for line in watching.lines))
    still_open = {json.loads(line)["id"] for line in watching.lines}
    for generation_id in still_open:
        call_back(told.running, body_of(generation_id))

    assert watching.end() == DONE
    assert over not in still_open
    assert told("watch").stdout == "", "and now there is nothing to watch"


def test_its_exit_code_says_how_it_ended(told: Command) -> None:
    completed, failed = tell(told.running), tell(told.running, "failed")

    assert told("watch", completed).returncode == DONE
    assert told("watch", completed, failed).returncode == FAILED
    assert told("watch", begun(told.running), "--wait", "0.2").returncode == RAN_OUT


def test_what_nobody_knows_ends_it_with_3_and_a_luma_that_is_down_with_5(
    asking: Command,
) -> None:
    down = new_id()
    asking.running.luma.fault(Fault(status=503, path=down, times=None))

    assert asking("watch", new_id()).returncode == NOT_FOUND
    assert asking("watch", down).returncode == UNREACHABLE
    asking.running.luma.clear_faults()


@pytest.mark.thorough
def test_where_no_service_asks_watching_does(shared: Running) -> None:
    generation_id = shared.luma.create()
    command = Command(shared, "database")
    watching = command.start("watch", generation_id)
    until(lambda: watching.lines)
    assert watching.lines[0].split("\t")[:2] == [generation_id, "queued"]

    shared.luma.advance(60)

    assert watching.end() == DONE
    assert watching.lines[-1].split("\t")[1] == "completed"


def test_a_service_that_restarts_is_waited_for_and_no_change_is_missed(
    told: Command, request: pytest.FixtureRequest
) -> None:
    if told.way == "database":
        pytest.skip("there is no connection to lose")
    service = told.running.service
    generation_id = begun(told.running)
    watching = told.start("watch", generation_id)
    waiting = told.start("get", generation_id, "--wait", "60")
    until(lambda: len(watching.lines) == 1)
    until(lambda: waiting.is_connected(service.url))
    port = service.url.rpartition(":")[2]

    service.stop()
    service.start("--port", port)
    call_back(told.running, body_of(generation_id))

    assert (watching.end(), waiting.end()) == (DONE, DONE)
    assert watching.lines[-1].split("\t")[1] == "completed"
    assert "state:          completed" in waiting.lines


# On a terminal


def test_a_terminal_shows_a_table_that_moves_and_the_url_at_the_end(keyless: Running) -> None:
    for _ in range(3):
        known = new_id()
        at = datetime.now(UTC) - timedelta(seconds=40)
        call_back(keyless, body_of(known, "dreaming", created_at=at.isoformat()))
        call_back(keyless, body_of(known, created_at=at.isoformat()))
    generation_id = begun(keyless, request={"prompt": "a lake \x1b[31m[red]at[/]"})
    terminal = Terminal(keyless, "watch", generation_id)

    terminal.until_shown(r"of about 4\d s")
    call_back(keyless, body_of(generation_id))
    code, shown = terminal.end()

    assert code == DONE
    assert "◐ dreaming" in shown
    assert "✔ completed" in shown
    assert "━" in shown, "a bar"
    assert "[red]at[/]" in shown
    assert "\x1b[31m[red]" not in shown, "what Luma says steers no terminal"
    assert shown.rstrip().endswith(body_of(generation_id)["assets"]["video"])
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor is back"


def test_ctrl_c_leaves_the_terminal_as_it_was(keyless: Running) -> None:
    terminal = Terminal(keyless, "watch", begun(keyless))
    terminal.until_shown("dreaming")

    terminal.press("\x03")
    code, shown = terminal.end()

    assert code == INTERRUPTED
    assert "Traceback" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")


def test_nothing_to_watch_says_what_to_do(keyless: Running) -> None:
    for item in keyless.http.get("/v1/generations?state=dreaming&state=queued").json()["items"]:
        call_back(keyless, body_of(item["id"]))

    code, shown = Terminal(keyless, "watch").end()

    assert code == DONE
    assert "luma-tracker create" in shown


class Terminal:
    """A command on a terminal of 160 columns."""

    def __init__(self, running: Running, *arguments: str) -> None:
        environment = {**running.service.environment, "TERM": "xterm-256color", "COLUMNS": "160"}
        plain = {k: v for k, v in environment.items() if k not in ("NO_COLOR", "CI")}
        self._ours, theirs = pty.openpty()
        self._shown = b""
        with open(theirs, "r+b", buffering=0) as end:  # noqa: PTH123 - a descriptor
            self._process = launch(
                arguments,
                environment=plain,
                folder=running.service.folder,
                stdin=end,
                stdout=end,
                stderr=end,
            )

    def press(self, keys: str) -> None:
        """Type."""
        if keys == "\x03":  # no terminal is controlling here, so the signal is sent by hand
            self._process.send_signal(2)
        else:
            os.write(self._ours, keys.encode())

    def until_shown(self, pattern: str) -> None:
        """Read until it has shown something."""

        def is_shown() -> bool:
            self._read()
            return re.search(pattern, self._shown.decode(errors="replace")) is not None

        until(is_shown)

    def end(self) -> tuple[int, str]:
        """The exit code, and all that was shown."""
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            self._read()
        self._read()
        os.close(self._ours)
        return self._process.wait(timeout=1), self._shown.decode()

    def _read(self) -> None:
        while select.select([self._ours], [], [], 0.05)[0]:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:  # Linux reports that the other end is closed
                return
            if not chunk:
                return
            self._shown += chunk


# How long it takes


NOW = datetime.now(UTC)


def generation(**given: Any) -> dict[str, Any]:
    """A generation as REST shows it."""
    shown: dict[str, Any] = {
        "id": "a",
        "state": "dreaming",
        "terminal": False,
        "gone_at": None,
        "model": "ray-2",
        "upstream": "dream_machine",
        "operation": "video",
        "generation_type": "video",
        "source": "callback",
        "request": None,
        "prompt": None,
        "failure_reason": None,
        "first_seen_at": NOW.isoformat(),
        "created_at": NOW.isoformat(),
        "finished_at": None,
    }
    return {**shown, **given}


def took(seconds: float, **given: Any) -> dict[str, Any]:
    """One that was completed after so many seconds."""
    ended = (NOW + timedelta(seconds=seconds)).isoformat()
    return generation(state="completed", terminal=True, finished_at=ended, **given)


class Completed:
    """A store with completed generations."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.items = items
        self.asked = list[Filters]()

    async def generations(self, filters: Filters) -> Reply:
        """A page with all of them."""
        self.asked.append(filters)
        return Reply(json.dumps({"items": self.items}).encode())


LONG = {"resolution": "1080p", "duration": "9s"}


@pytest.mark.parametrize(
    ("completed", "request_", "expected"),
    [
        ([], None, 70),
        ([took(30), took(40), took(1000)], None, 40),
        ([took(30), took(5, source="backfill"), took(9000)], None, 30),
        ([took(30)] * 5 + [took(200, request=LONG)] * 3, LONG, 200),
        ([took(30)] * 5 + [took(200, request=LONG)] * 2, LONG, 30),
    ],
    ids=["nothing known", "median", "only what was heard in time", "same order", "too few"],
)
async def test_the_usual_time_is_the_median_of_those_like_it(
    completed: list[dict[str, Any]], request_: dict[str, Any] | None, expected: float
) -> None:
    store = Completed(*completed)
    usual = Usual(store)  # type: ignore[arg-type]

    for _ in range(2):
        assert await usual.of(generation(request=request_)) == expected
    assert len(store.asked) == 1, "each kind is asked for once"


def test_no_bar_is_full_before_the_end() -> None:
    old = generation(created_at=(NOW - timedelta(seconds=500)).isoformat())
    done = took(40, id="b")
    screen = io.StringIO()

    table = LiveTable({"a": old, "b": done}, {"a": 70.0}, lambda: "")
    Console(file=screen, width=160).print(table)

    first, second = screen.getvalue().splitlines()[1:3]
    assert re.search(r" \d+:\d\d of about 70 s", first)
    assert "40 s" in second
    assert first.count("━") < second.count("━")


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, ["state", "id"]),
        (80, ["state", "id", "time"]),
        (100, ["state", "id", "progress", "time"]),
        (130, ["state", "id", "model", "progress", "time", "prompt"]),
    ],
)
def test_a_narrow_terminal_has_fewer_columns_but_whole_ones(width: int, columns: list[str]) -> None:
    long = generation(id=new_id(), model="ray-flash-2", prompt="a lake " * 30)
    screen = io.StringIO()

    table = LiveTable({"a": long}, {long["id"]: 70.0}, lambda: "")
    Console(file=screen, width=width).print(table)

    head, row, *_ = screen.getvalue().splitlines()
    assert head.split() == columns
    assert "◐ dreaming" in row
    assert long["id"] in row
    assert ("of about 70 s" in row) == ("time" in columns)
