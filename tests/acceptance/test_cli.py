"""The command line: the same facts as the other surfaces, and its exit codes."""

import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.simulator import Fault, Luma
from tests.acceptance.conftest import KEYLESS, Running, environment_for, run_service
from tests.acceptance.talk import body_of, call_back, ids, new_id, read, told
from tests.launching import launch, run

pytestmark = pytest.mark.either_database

NOBODY = "00000000-0000-4000-8000-000000000000"
"""The id that `doctor` fetches."""
DONE, FAILED, USAGE, NOT_FOUND, REFUSED, UNREACHABLE, RAN_OUT = 0, 1, 2, 3, 4, 5, 124
Run = subprocess.CompletedProcess[str]


def refused(run: Run, code: int) -> str:
    """The one line on stderr of a command that failed."""
    assert run.returncode == code, run.stderr
    assert run.stdout == ""
    [line] = run.stderr.splitlines()
    return line


@dataclass
class Alone:
    """The command line without a running service, in a folder of its own."""

    folder: Path
    luma: Luma

    def run(self, *arguments: str, without: str = "", **given: str) -> Run:
        """Run `luma-tracker`, `without` one setting that is usually set."""
        environment = environment_for(self.folder, self.luma, **given)
        environment.pop(without, None)
        return run(arguments, environment=environment, folder=self.folder)


@pytest.fixture
def alone(tmp_path: Path, luma: Luma) -> Alone:
    return Alone(tmp_path, luma)


# get


def test_get_prints_json_exactly_as_rest_answers_it(shared: Running) -> None:
    generation_id = told(shared)

    run = shared.service.command("get", generation_id, "--json")

    assert run.returncode == DONE, run.stderr
    assert run.stdout.rstrip("\n") == shared.http.get(f"/v1/generations/{generation_id}").text


def test_get_prints_plain_lines_into_a_pipe(shared: Running) -> None:
    generation_id = told(shared, "failed", "image", assets={"image": "https://i.example/i.jpg"})

    run = shared.service.command("get", generation_id)

    assert run.returncode == DONE, "that the generation failed is no failure of ours"
    assert "\x1b" not in run.stdout
    lines = dict(re.split(r":\s+", line, maxsplit=1) for line in run.stdout.splitlines())
    shown = read(shared, generation_id)
    for name in ("id", "state", "failure_reason", "operation", "model", "prompt"):
        assert lines[name] == shown[name]
    assert "https://i.example/i.jpg" in run.stdout


def test_what_luma_says_cannot_pass_for_lines_of_ours(shared: Running) -> None:
    asked = {"prompt": "a lake\nstate: completed\nvideo_url: https://evil.example/v.mp4"}
    generation_id = told(shared, "dreaming", request=asked)

    run = shared.service.command("get", generation_id)

    states = [line for line in run.stdout.splitlines() if line.startswith("state:")]
    assert len(states) == 1
    assert not [line for line in run.stdout.splitlines() if line.startswith("video_url:")]


def test_get_asks_luma_for_what_is_unknown_and_for_fresh(shared: Running) -> None:
    generation_id = shared.luma.create()
    first = json.loads(shared.service.command("get", generation_id, "--json").stdout)
    shared.luma.advance(60)
    stored = json.loads(shared.service.command("get", generation_id, "--json").stdout)
    fresh = json.loads(shared.service.command("get", "--fresh", "--json", generation_id).stdout)

    assert [first["state"], stored["state"], fresh["state"]] == ["queued", "queued", "completed"]
    assert shared.luma.count("GET", f"/dream-machine/v1/generations/{generation_id}") >= 2
    assert read(shared, generation_id) == fresh, "the service shares what was heard"


def test_what_nobody_knows_is_exit_code_3(shared: Running) -> None:
    generation_id = new_id()

    line = refused(shared.service.command("get", generation_id), NOT_FOUND)

    assert generation_id in line


def test_an_id_that_cannot_be_is_a_usage_error(shared: Running) -> None:
    assert "id" in refused(shared.service.command("get", "a b"), USAGE)
    assert shared.luma.count("GET", "a b") == 0


def test_a_refusal_by_luma_is_exit_code_4(shared: Running) -> None:
    generation_id = new_id()
    shared.luma.fault(Fault(status=401, path=generation_id, times=None))

    line = refused(shared.service.command("get", generation_id), REFUSED)

    assert "401" in line


def test_a_luma_that_cannot_be_reached_is_exit_code_5(shared: Running) -> None:
    down, gone = new_id(), new_id()
    shared.luma.fault(Fault(status=503, path=down, times=None))
    with closing(socket.socket()) as reserved:  # bound, but nobody listens
        reserved.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{reserved.getsockname()[1]}"

        refused(shared.service.command("get", down), UNREACHABLE)
        refused(shared.service.command("get", gone, TRACKER_AGENTS_URL=nowhere), UNREACHABLE)


# get --wait


@pytest.mark.parametrize(("state", "code"), [("completed", DONE), ("failed", FAILED)])
def test_wait_says_by_its_exit_code_how_it_ended(shared: Running, state: str, code: int) -> None:
    generation_id = told(shared, state)

    run = shared.service.command("get", "--wait", generation_id, "--json")

    assert run.returncode == code, run.stderr
    assert json.loads(run.stdout) == read(shared, generation_id)


@pytest.mark.parametrize("wait", [["--wait", "0.3"], ["--wait=0"]])
def test_a_wait_that_runs_out_is_exit_code_124(alone_told: Running, wait: list[str]) -> None:
    generation_id = told(alone_told, "dreaming")

    run = alone_told.service.command("get", generation_id, *wait, "--json")

    assert run.returncode == RAN_OUT, run.stderr
    assert json.loads(run.stdout) == read(alone_told, generation_id), "it is shown all the same"


@pytest.fixture(scope="module")
def alone_told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service without keys: only callbacks report states."""
    with run_service(tmp_path_factory.mktemp("alone"), **KEYLESS) as running:
        yield running


@pytest.mark.parametrize("wait", [["--wait"], ["--wait", "30"]])
@pytest.mark.thorough
def test_wait_ends_as_soon_as_the_service_hears_of_the_outcome(
    alone_told: Running, wait: list[str]
) -> None:
    generation_id = told(alone_told, "dreaming")
    waiting = subprocess.Popen(
        [sys.executable, "-m", "service", "get", generation_id, "--json", *wait],
        env=alone_told.service.environment,
        cwd=alone_told.service.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=2)
    call_back(alone_told, body_of(generation_id, "completed"))

    out, _ = waiting.communicate(timeout=15)

    assert waiting.returncode == DONE
    assert json.loads(out)["state"] == "completed"


@pytest.mark.parametrize("wait", [["--wait", "soon"], ["--wait=-1"]])
def test_a_wait_that_cannot_be_is_a_usage_error(shared: Running, wait: list[str]) -> None:
    run = shared.service.command("get", told(shared), *wait)

    assert run.returncode == USAGE, run.stdout
    assert run.stdout == ""


# list


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose list the tests do not change."""
    with run_service(tmp_path_factory.mktemp("listed"), **KEYLESS) as running:
        told(running, "completed", request={"prompt": "a lake\tat\nsunset"})
        told(running, "failed", model="photon-1", request={"prompt": "[red]bold[/] \x1b[31mloud"})
        told(running, "dreaming", "image")
        yield running


def test_list_prints_json_exactly_as_rest_answers_it(listed: Running) -> None:
    run = listed.service.command("list", "--json")

    assert run.returncode == DONE, run.stderr
    assert run.stdout.rstrip("\n") == listed.http.get("/v1/generations?limit=20").text


def test_list_prints_a_line_for_each_into_a_pipe(listed: Running) -> None:
    run = listed.service.command("list")

    assert run.returncode == DONE
    lines = [line.split("\t") for line in run.stdout.splitlines()]
    items = listed.http.get("/v1/generations").json()["items"]
    assert [line[0] for line in lines] == ids(items)
    assert [line[1] for line in lines] == [item["state"] for item in items]
    assert {len(line) for line in lines} == {5}, "whatever is in a prompt"
    assert "[red]bold[/]" in run.stdout
    assert "\x1b" not in run.stdout


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        (["--state", "failed", "--state", "dreaming"], {"state": ["failed", "dreaming"]}),
        (["--model", "photon-1", "-q", "loud"], {"model": "photon-1", "q": "loud"}),
        (["--operation", "image", "--limit", "2"], {"operation": "image", "limit": 2}),
    ],
)
def test_list_has_the_filters_of_rest(
    listed: Running, options: list[str], parameters: dict[str, Any]
) -> None:
    run = listed.service.command("list", "--json", *options)

    assert json.loads(run.stdout) == listed.http.get("/v1/generations", params=parameters).json()
    assert json.loads(run.stdout)["items"]


def test_list_goes_on_where_the_page_before_ended(listed: Running) -> None:
    first = listed.service.command("list", "--limit", "2")
    cursor = re.search(r"--cursor (\S+)", first.stderr)
    assert cursor, "how to go on is on stderr, out of the way"

    second = listed.service.command("list", "--limit", "2", "--cursor", cursor[1])

    shown = [line.split("\t")[0] for line in (first.stdout + second.stdout).splitlines()]
    assert shown == ids(listed.http.get("/v1/generations").json()["items"])
    assert second.stderr == ""


@pytest.mark.parametrize("options", [["--limit", "201"], ["--cursor", "x"], ["--nope"]])
def test_a_list_that_cannot_be_is_a_usage_error(listed: Running, options: list[str]) -> None:
    run = listed.service.command("list", *options)

    assert run.returncode == USAGE
    assert run.stdout == ""
    assert "Traceback" not in run.stderr


@pytest.mark.thorough
def test_a_reader_who_leaves_early_is_no_reason_to_complain(listed: Running) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "service", "list"],
        env=listed.service.environment,
        cwd=listed.service.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout
    assert run.stderr
    run.stdout.close()

    said = run.stderr.read()

    run.wait(timeout=15)
    run.stderr.close()
    assert said == ""


# callback-url


def test_callback_url_prints_nothing_but_the_url(alone: Alone) -> None:
    local = alone.run("callback-url", TRACKER_PORT="8123")
    public = alone.run("callback-url", TRACKER_PUBLIC_URL="https://tracker.example/luma/")

    assert re.fullmatch(r"http://127\.0\.0\.1:8123/callbacks/[\w.-]{30,}\n", local.stdout)
    assert "TRACKER_PUBLIC_URL" in local.stderr
    assert re.fullmatch(r"https://tracker\.example/luma/callbacks/[\w.-]{30,}\n", public.stdout)
    assert public.stderr == ""
    assert local.stdout.rpartition("/")[2] == public.stdout.rpartition("/")[2]


# What is printed for programs


@pytest.mark.parametrize("command", [["callback-url"], ["db", "current"], ["doctor"]], ids=" ".join)
def test_whatever_prints_data_prints_it_as_json_too(alone: Alone, command: list[str]) -> None:
    run = alone.run(*command, "--json", TRACKER_PUBLIC_URL=alone.luma.dream_machine_url)

    assert json.loads(run.stdout), run.stderr


# doctor


def test_the_doctor_is_content_when_all_is_well(shared: Running) -> None:
    before = shared.luma.count("GET", NOBODY)

    run = shared.service.command("doctor", TRACKER_PUBLIC_URL=shared.service.url)

    assert run.returncode == DONE, run.stdout
    assert {line.split()[0] for line in run.stdout.splitlines()} == {"ok"}
    for about in ("database", "dream_machine", "agents", "callback"):
        assert about in run.stdout
    assert shared.luma.count("GET", NOBODY) - before == 2, "each upstream is asked once"


def test_the_doctor_finds_what_is_wrong(shared: Running) -> None:
    shared.luma.fault(Fault(status=401, path="/dream-machine/v1/", times=1))

    run = shared.service.command("doctor", "--json", TRACKER_PUBLIC_URL="http://127.0.0.1:9")

    assert run.returncode == FAILED
    wrong = [finding["about"] for finding in json.loads(run.stdout) if finding["level"] == "error"]
    assert len(wrong) == 2, "the key, and the address that Luma should call"
    assert any("dream_machine" in about for about in wrong)
    assert any("callbacks" in about for about in wrong)


def test_the_doctor_misses_the_keys(alone: Alone) -> None:
    run = alone.run("doctor", LUMAAI_API_KEY="", LUMA_AGENTS_API_KEY="")

    assert run.returncode == FAILED
    assert "LUMAAI_API_KEY" in run.stdout
    assert "nothing can be fetched" in run.stdout
    assert not (alone.folder / "tracker.db").exists(), "looking makes nothing"


# db


def test_the_schema_can_be_made_and_looked_at_by_hand(alone: Alone) -> None:
    before, unready = alone.run("db", "current"), alone.run("db", "check")
    made, again = alone.run("db", "upgrade"), alone.run("db", "upgrade")
    after, ready = alone.run("db", "current"), alone.run("db", "check")

    assert (before.returncode, before.stdout) == (DONE, "none\n")
    assert unready.returncode == FAILED
    assert "db upgrade" in unready.stderr
    assert (made.returncode, again.returncode) == (DONE, DONE)
    assert re.fullmatch(r"\w+\n", after.stdout)
    assert made.stdout == f"database: none -> {after.stdout}", "and no line of the log"
    assert (made.stderr, again.stderr) == ("", "")
    assert ready.returncode == DONE, ready.stderr


# Settings


def _twin(name: str) -> str:
    """The setting whose value a `_FILE` setting reads from a file."""
    return name.removesuffix("_FILE") if name.endswith("_FILE") else ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRACKER_PORT", "many"),
        ("TRACKER_STALE_AFTER", "0"),
        ("TRACKER_DATABASE_URL", "mysql://localhost/x"),
        ("TRACKER_DREAM_MACHINE_URL", "api.lumalabs.ai"),
        ("TRACKER_CORS_ORIGINS", "https://a.example,b.example"),
        ("TRACKER_API_TOKENS_FILE", "/none/such"),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_line_that_names_it(
    alone: Alone, name: str, value: str
) -> None:
    run = alone.run("db", "current", without=_twin(name), **{name: value})

    line = refused(run, USAGE)

    assert line.startswith(f"luma-tracker: {name}"), line


def test_settings_come_from_a_file_named_env_and_secrets_from_files_of_their_own(
    alone: Alone, shared: Running
) -> None:
    token = shared.callback_url.rpartition("/")[2]
    secret = alone.folder / "secret"
    secret.write_text(shared.service.environment["TRACKER_CALLBACK_SECRET"] + "\n")
    dotenv = alone.folder / ".env"
    dotenv.write_text(
        f"TRACKER_PUBLIC_URL=https://from-dotenv.example\nTRACKER_CALLBACK_SECRET_FILE={secret}\n"
    )
    run = alone.run("callback-url", without="TRACKER_CALLBACK_SECRET")

    assert run.stdout == f"https://from-dotenv.example/callbacks/{token}\n", run.stderr


# Help


def test_help_names_every_command_and_each_helps_itself(alone: Alone) -> None:
    run = alone.run("--help")

    assert run.returncode == DONE
    for command in ("serve", "mcp", "demo", "get", "list", "callback-url", "doctor", "db"):
        assert re.search(rf"\b{command}\b", run.stdout), command
        helped = alone.run(command, "--help")
        assert helped.returncode == DONE
        assert "Usage" in helped.stdout


def test_the_installed_command_tells_its_version() -> None:
    command = Path(sys.executable).with_name("luma-tracker")

    run = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30)

    assert run.returncode == DONE, run.stderr
    assert re.search(r"\d+\.\d+\.\d+", run.stdout)


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["gett"], "get"),
        (["LIST"], "list"),
        (["upgrad"], "db upgrade"),
        (["db", "curent"], "current"),
        (["db", "up"], "upgrade"),
        (["--versio"], "--version"),
        (["list", "--stat", "failed"], "--state"),
        (["db", "current", "--jsn"], "--json"),
    ],
)
def test_a_mistyped_command_or_option_is_answered_with_the_nearest(
    alone: Alone, arguments: list[str], suggestion: str
) -> None:
    run = alone.run(*arguments)

    assert run.returncode == USAGE
    assert run.stdout == ""
    assert f"Did you mean `{suggestion}`?" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("arguments", [["frobnicate"], ["list", "--zzz"], ["--", "--zzz"]])
def test_where_nothing_is_near_nothing_is_suggested(alone: Alone, arguments: list[str]) -> None:
    run = alone.run(*arguments)

    assert run.returncode == USAGE
    assert "Did you mean" not in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("arguments", [["no-such-command"], ["get"], ["db", "x"]])
def test_a_command_that_there_is_not_is_a_usage_error(alone: Alone, arguments: list[str]) -> None:
    run = alone.run(*arguments)

    assert run.returncode == USAGE
    assert "Traceback" not in run.stderr


# On a terminal


def on_terminal(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the output on a terminal of 200 columns."""
    terminal = {"TERM": "xterm-256color", "COLUMNS": "200"}
    plain = {k: v for k, v in environment.items() if k not in ("NO_COLOR", "CI")}
    ours, theirs = pty.openpty()
    with open(theirs, "r+b", buffering=0) as end:  # noqa: PTH123 - a descriptor
        process = launch(
            arguments,
            environment={**plain, **terminal},
            folder=folder,
            stdin=end,
            stdout=end,
            stderr=end,
        )
    try:
        shown = _read_all(ours)
    finally:
        os.close(ours)
    return process.wait(timeout=15), shown.decode()


def place(running: Running) -> tuple[dict[str, str], Path]:
    """Environment and folder of commands on the database of a service."""
    return running.service.environment, running.service.folder


def _read_all(descriptor: int) -> bytes:
    deadline, shown = time.monotonic() + 30, b""
    while time.monotonic() < deadline:
        if not select.select([descriptor], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # Linux reports that the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    return shown


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def test_a_terminal_is_shown_the_same_facts_in_colour(listed: Running) -> None:
    items = listed.http.get("/v1/generations").json()["items"]

    code, shown = on_terminal(*place(listed), "list")

    assert code == DONE
    assert _COLOUR.search(shown)
    plain = _COLOUR.sub("", shown)
    for item in items:
        [line] = [line for line in plain.splitlines() if item["id"] in line]
        for name in ("state", "operation", "model"):
            assert item[name] in line
    assert "[red]bold[/]" in plain, "markup is Luma's to say, not ours to follow"


def test_one_generation_on_a_terminal_has_the_same_facts_as_in_a_pipe(listed: Running) -> None:
    [done, *_] = listed.http.get("/v1/generations?state=completed").json()["items"]
    piped = listed.service.command("get", done["id"])

    code, shown = on_terminal(*place(listed), "get", done["id"])

    assert code == DONE
    assert _COLOUR.search(shown)
    plain = _COLOUR.sub("", shown)
    assert done["assets"]["video"] in plain, "whole, to be copied"

    def facts(text: str) -> list[list[str]]:
        return [line.split() for line in text.splitlines() if not line.startswith("received")]

    assert facts(plain) == facts(piped.stdout)


def test_what_luma_says_cannot_steer_the_terminal(listed: Running) -> None:
    [loud] = listed.http.get("/v1/generations?state=failed").json()["items"]
    assert "\x1b[31m" in loud["prompt"]

    for arguments in (("list",), ("get", loud["id"])):
        _, shown = on_terminal(*place(listed), *arguments)

        assert "loud" in shown
        assert "\x1b[31mloud" not in shown


def test_an_empty_list_on_a_terminal_says_what_to_do_next(alone: Alone) -> None:
    where = environment_for(alone.folder, alone.luma), alone.folder

    code, everything = on_terminal(*where, "list")
    _, filtered = on_terminal(*where, "list", "--state", "failed")
    _, as_json = on_terminal(*where, "list", "--json")

    assert code == DONE
    assert "luma-tracker callback-url" in everything
    assert "luma-tracker get ID" in everything
    assert "filters" in filtered
    assert "luma-tracker list" in filtered
    assert json.loads(as_json) == {"items": [], "next_cursor": None, "has_more": False}


def test_an_empty_list_in_a_pipe_is_empty_and_only_a_terminal_is_told_why(alone: Alone) -> None:
    silent = alone.run("list")
    ours, theirs = pty.openpty()
    piped = alone.folder / "piped"
    with open(theirs, "wb", buffering=0) as stderr, piped.open("wb") as stdout:  # noqa: PTH123
        process = launch(
            ["list"],
            environment=environment_for(alone.folder, alone.luma),
            folder=alone.folder,
            stdout=stdout,
            stderr=stderr,
        )
    told_on_terminal = _read_all(ours).decode()
    os.close(ours)

    assert (silent.stdout, silent.stderr) == ("", "")
    assert (process.wait(timeout=15), piped.read_bytes()) == (DONE, b"")
    assert "luma-tracker callback-url" in told_on_terminal
