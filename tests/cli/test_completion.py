"""What shells complete, and what `--help` and each command's examples promise."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from service.cli.app import app
from service.cli.generations import with_default_wait
from service.storage.recent import recent
from tests.acceptance.conftest import Running
from tests.acceptance.talk import body_of, call_back, new_id
from tests.acceptance.talk import told as tell
from tests.cli.conftest import Command
from tests.launching import run as launched

pytestmark = pytest.mark.either_database


def completed(command: Command, line: str, **given: str) -> list[str]:
    """What bash is told when Tab is pressed at the end of a line."""
    asked = {
        "_LUMA_TRACKER_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        **given,
    }
    run = command(**asked)
    assert run.stderr == ""
    return run.stdout.split()


def test_ids_come_from_the_store_and_names_from_what_is_known(told: Command) -> None:
    if told.way == "database" and told.running.database.startswith("postgres"):
        pytest.skip("a connection takes longer than anyone waits")
    generation_id = tell(told.running)

    assert generation_id in completed(told, "luma-tracker get ")
    assert completed(told, f"luma-tracker watch {generation_id[:20]}") == [generation_id]
    assert completed(told, "luma-tracker list --state c") == ["completed"]
    assert completed(told, "luma-tracker create --model ray-f") == ["ray-flash-2"]
    assert completed(told, "luma-tracker backfill --upstream a") == ["agents"]
    assert completed(told, "luma-tracker replay --outcome k") == ["kept"]
    assert "callback-test" in completed(told, "luma-tracker callback-t")


def test_where_nothing_can_be_completed_nothing_is_said(told: Command, tmp_path: Path) -> None:
    for given in (
        {"TRACKER_DATABASE_URL": "sqlite:////none/such.db", "TRACKER_URL": ""},
        {"TRACKER_URL": "http://127.0.0.1:9"},
        {"TRACKER_PORT": "many"},
    ):
        assert completed(told, "luma-tracker get ", **given) == []
    (tmp_path / "odd.db").write_text("this is no database" * 100)
    assert recent(tmp_path / "odd.db", "", 10) == []
    assert recent(tmp_path / "none.db", "", 10) == []
    assert not (tmp_path / "none.db").exists(), "looking makes nothing"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shell_is_printed(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = launched(["--show-completion", shell], environment=environment, folder=Path.cwd())

    assert shown.returncode == 0, shown.stderr
    assert "_LUMA_TRACKER_COMPLETE" in shown.stdout


# Help


def commands() -> list[tuple[str, Any]]:
    """Every command and what to type for it."""

    def walk(group: Any, before: str = "") -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        for name, command in group.commands.items():
            inner = getattr(command, "commands", None)
            found += walk(command, f"{before}{name} ") if inner else [(before + name, command)]
        return found

    return walk(get_command(app))


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_has_an_example_that_it_understands(name: str, command: Any) -> None:
    shown = command.help
    examples = re.findall(
        rf"^\s*(?:TRACKER_\S+=\S+ )?luma-tracker {name}(.*)$", shown, re.MULTILINE
    )
    if name in ("mcp", "open"):
        assert "Example" in shown
        return

    assert examples, f"{name} has no example"
    for example in examples:
        arguments = shlex.split(example.partition(" || ")[0])
        command.make_context(name, with_default_wait(arguments))


def unfolded(text: str) -> str:
    """What a box shows, on one line."""
    return re.sub(r"[\s│]+", " ", text)


@pytest.mark.parametrize("command", [[], ["get"], ["db", "current"], ["webhooks"]])
def test_no_flag_looks_as_if_it_took_a_value(keyless: Running, command: list[str]) -> None:
    run = Command(keyless, "database")(*command, "--help")

    assert "--help" in run.stdout
    assert "bool" not in run.stdout


def test_the_wait_of_each_command_says_what_it_does(keyless: Running) -> None:
    get, watch = (
        unfolded(Command(keyless, "database")(name, "--help").stdout) for name in ("get", "watch")
    )

    assert "Wait for a terminal state" in get
    assert "Wait for a terminal state" not in watch
    assert "Without --wait there is no limit." in watch


def test_a_wait_that_is_no_number_is_said_to_be_that(keyless: Running) -> None:
    run = Command(keyless, "database")("get", new_id(), "--wait", "abc")

    assert run.returncode == 2
    assert "--wait takes seconds, such as --wait 60." in unfolded(run.stderr)


@pytest.mark.parametrize("command", ["list", "archive", "replay", "webhooks add"])
def test_a_query_is_named_alike_everywhere(keyless: Running, command: str) -> None:
    shown = Command(keyless, "database")(*command.split(), "--help").stdout

    assert re.search(r"--query,--q +-q ", shown)


def test_a_backfill_without_a_key_says_what_to_set(keyless: Running) -> None:
    run = Command(keyless, "database")("backfill")

    assert run.returncode == 2
    assert run.stderr == (
        "luma-tracker: No API key is set. Set LUMAAI_API_KEY for dream_machine, or "
        "LUMA_AGENTS_API_KEY for agents.\n"
    )


def test_an_archive_without_end_is_one_line(keyless: Running) -> None:
    run = Command(keyless, "database")("list", TRACKER_ARCHIVE_MAX="9" * 400)

    assert run.returncode == 2
    assert run.stderr.startswith("luma-tracker: TRACKER_ARCHIVE_MAX: ")
    assert run.stderr.count("\n") == 1


# open


def opened(running: Running, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """A run of `open`, and what the browser was told to show."""
    folder = running.service.folder
    browser, shown = folder / "browser", folder / "shown"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {shown}\n')
    browser.chmod(0o700)
    shown.unlink(missing_ok=True)
    run = Command(running, "service")("open", *arguments, BROWSER=f"{browser} %s")
    return run, shown.read_text() if shown.exists() else ""


def test_open_shows_the_page_or_the_result_in_the_browser(keyless: Running) -> None:
    done, running = tell(keyless), tell(keyless, "dreaming", assets=None)
    video = json.loads(Command(keyless, "service")("get", done, "--json").stdout)["assets"]["video"]

    page, result = opened(keyless, done), opened(keyless, done, "--asset")
    printed, early = opened(keyless, done, "--print"), opened(keyless, running, "--asset")

    assert (page[0].returncode, page[1]) == (0, f"{keyless.service.url}/generations/{done}")
    assert (result[0].returncode, result[1]) == (0, video)
    assert (printed[0].stdout.strip(), printed[1]) == (page[1], "")
    assert early[0].returncode == 3
    assert "luma-tracker watch" in early[0].stderr


def test_open_without_a_service_or_browser_says_what_to_do(keyless: Running) -> None:
    generation_id = new_id()
    call_back(keyless, body_of(generation_id))
    command = Command(keyless, "database")

    any_port = command("open", generation_id, "--print", TRACKER_PORT="0")
    here = command("open", generation_id, "--print", TRACKER_PORT="8123")
    none = command("open", generation_id, BROWSER="/none/such", PATH="", DISPLAY="")

    assert any_port.returncode == 2
    assert "TRACKER_URL" in any_port.stderr
    assert here.stdout == f"http://127.0.0.1:8123/generations/{generation_id}\n"
    assert none.returncode == 1
    assert f"/generations/{generation_id}" in none.stderr
