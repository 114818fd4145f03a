"""Every command says the same of a running service and of its database."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.simulator import Fault, Simulator
from tests.acceptance.conftest import KEYLESS, Running, run_service
from tests.acceptance.talk import body_of, call_back, new_id
from tests.acceptance.talk import told as tell
from tests.acceptance.test_creates import free_port
from tests.cli.conftest import Command
from tests.waiting import until

pytestmark = pytest.mark.either_database

DONE, FAILED, USAGE, NOT_FOUND, REFUSED, UNREACHABLE, RAN_OUT = 0, 1, 2, 3, 4, 5, 124


def rest(command: Command, path: str, **parameters: Any) -> str:
    """What the service answers."""
    answer = command.running.http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.text


def printed(command: Command, *arguments: str) -> str:
    """What a command prints that succeeds."""
    run = command(*arguments)
    assert run.returncode == DONE, run.stderr
    return run.stdout.rstrip("\n")


def test_what_a_command_prints_as_json_is_what_rest_answers(told: Command) -> None:
    generation_id = tell(told.running)
    kept = told.running.http.post(told.running.callback_url, content=b"{}")
    assert kept.status_code == 422
    path = f"/v1/generations/{generation_id}"
    newest = rest(told, "/v1/deliveries", limit=1)
    delivery = json.loads(newest)["items"][0]["id"]

    for arguments, expected in {
        ("get", generation_id): rest(told, path),
        ("list", "--state", "completed"): rest(
            told, "/v1/generations", state="completed", limit=20
        ),
        ("events", generation_id): rest(told, f"{path}/events", limit=50),
        ("events", "--after", "0", "--limit", "1"): rest(told, "/v1/events", after=0, limit=1),
        ("deliveries", "--limit", "1"): newest,
        ("deliveries", "--outcome", "kept"): rest(told, "/v1/deliveries", outcome="kept", limit=20),
        ("deliveries", "--generation", generation_id): rest(
            told, "/v1/deliveries", generation_id=generation_id, limit=20
        ),
        ("deliveries", delivery): rest(told, f"/v1/deliveries/{delivery}"),
        ("webhooks", "list"): rest(told, "/v1/webhooks"),
        ("webhooks", "attempts", "creators"): rest(told, "/v1/webhooks/creators/attempts"),
    }.items():
        assert printed(told, *arguments, "--json") == expected, arguments


def test_a_page_says_how_to_go_on_and_the_next_begins_there(told: Command) -> None:
    ids = {tell(told.running) for _ in range(3)}
    first = told("deliveries", "--limit", "2")
    cursor = first.stderr.split("--cursor ")[1].strip()
    newest = printed(told, "events", "--limit", "2").splitlines()
    page = told("events", "--after", "0", "--limit", "1")

    second = printed(told, "deliveries", "--limit", "1", "--cursor", cursor)

    lines = [line.split("\t") for line in [*first.stdout.splitlines(), second]]
    assert {line[3] for line in lines} == ids
    assert {line[2] for line in lines} == {"applied"}
    assert {line.split("\t")[2] for line in newest} < ids, "the latest changes, if none is named"
    assert f"More: --after {page.stdout.split()[0]}" in page.stderr


def test_statistics_are_a_line_for_each_of_the_series(told: Command) -> None:
    tell(told.running, "failed", model=(model := new_id()))

    lines = [line.split("\t") for line in printed(told, "stats", "--by", "model").splitlines()]
    refused = told("stats", "--since", "soon")

    shown, expected = (
        json.loads(text)
        for text in (
            printed(told, "stats", "--by", "model", "--json"),
            rest(told, "/v1/stats", by="model"),
        )
    )
    for each in (shown, expected):
        del each["totals"]["lookups"], each["totals"]["upstream_requests"]  # they go on
    assert shown == expected
    assert [line[1:4] for line in lines if line[0] == model] == [["1", "0", "1"]]
    assert refused.returncode == USAGE
    assert "soon" in refused.stderr


def test_events_follow_what_happens_one_json_per_line(told: Command) -> None:
    generation_id, other = tell(told.running, "dreaming"), new_id()
    newest = json.loads(rest(told, "/v1/events", after="now"))["next_cursor"]
    following = told.start(
        "events", generation_id, "--follow", "--json", "--after", str(int(newest) - 1)
    )
    until(lambda: len(following.lines) == 1)
    call_back(told.running, body_of(other))
    call_back(told.running, body_of(generation_id))
    until(lambda: len(following.lines) == 2)
    following.process.send_signal(2)

    assert following.end() == 130, "Ctrl-C"
    assert following.errors == ""
    changes = [json.loads(line) for line in following.lines]
    assert [change["to_state"] for change in changes] == ["dreaming", "completed"]
    history = json.loads(rest(told, f"/v1/generations/{generation_id}/events"))["items"]
    assert changes == history


@pytest.mark.thorough
def test_a_reader_who_leaves_ends_what_follows_without_a_word(told: Command) -> None:
    newest = int(json.loads(rest(told, "/v1/events", after="now"))["next_cursor"])
    following = subprocess.Popen(
        [sys.executable, "-m", "service", "events", "--follow", "--after", str(newest)],
        env=told.environment,
        cwd=told.running.service.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout
    assert following.stderr
    first = tell(told.running)
    assert first in following.stdout.readline()
    following.stdout.close()

    def has_ended() -> bool:
        tell(told.running)
        return following.poll() is not None

    until(has_ended)
    said = following.stderr.read()
    following.stderr.close()
    assert said == ""


def test_endpoints_are_added_tested_and_removed(told: Command) -> None:
    url = f"https://hooks.example/{new_id()}"
    refused = told("webhooks", "add", "http://127.0.0.1/x")
    webhook = json.loads(printed(told, "webhooks", "add", url, "--state", "failed", "--json"))
    listed = printed(told, "webhooks", "list")
    removed, again = (told("webhooks", "remove", webhook["id"]) for _ in range(2))

    assert (webhook["url"], webhook["states"]) == (url, ["failed"])
    assert f"{webhook['id']}\tenabled\tfailed\t{url}" in listed
    assert (refused.returncode, removed.returncode, again.returncode) == (USAGE, DONE, NOT_FOUND)
    assert "127.0.0.1" in refused.stderr
    assert json.loads(rest(told, "/v1/webhooks"))["items"] == []


def test_deliveries_are_replayed_by_id_or_by_what_selects_them(told: Command) -> None:
    word = new_id()
    [lake, sea] = [tell(told.running, request={"prompt": word}) for _ in range(2)]
    [delivery] = json.loads(rest(told, "/v1/deliveries", generation_id=lake))["items"]

    one = printed(told, "replay", delivery["id"])
    unasked = told("replay", "--query", word)
    both = json.loads(printed(told, "replay", "--query", word, "--yes", "--json"))
    none = json.loads(printed(told, "replay", "-q", word, "--outcome", "stale", "--yes", "--json"))
    missing = told("replay", new_id())

    assert one == f"{delivery['id']}\tunchanged"
    assert {replay["generation_id"] for replay in both} == {lake, sea}
    assert none == []
    assert (unasked.returncode, unasked.stdout) == (USAGE, "")
    assert "2 deliveries" in unasked.stderr, "the count comes before a question that nobody hears"
    assert "--yes" in unasked.stderr
    assert missing.returncode == NOT_FOUND


def test_a_query_that_does_not_parse_is_marked_where_it_is_wrong(told: Command) -> None:
    word = new_id()
    tell(told.running, request={"prompt": f"a quiet {word}"})

    for command in (("list",), ("replay", "--yes")):
        refused = told(*command, "--query", "lake stat:failed")
        assert (refused.returncode, refused.stdout) == (USAGE, "")
        message, query, mark = refused.stderr.splitlines()
        assert "did you mean state" in message
        assert query == "lake stat:failed"
        assert mark == "     ^"
    found = printed(told, "list", "--query", f'state:completed "quiet {word}"')
    assert len(found.splitlines()) == 1


def test_exit_codes_are_the_same_by_both_ways(asking: Command) -> None:
    luma, down, refused = asking.running.luma, new_id(), new_id()
    luma.fault(Fault(status=503, path=down, times=None))
    luma.fault(Fault(status=401, path=refused, times=None))

    codes = {
        arguments: asking(*arguments).returncode
        for arguments in (
            ("get", new_id()),
            ("get", "a b"),
            ("get", down),
            ("get", refused),
            ("get", tell(asking.running, "dreaming"), "--wait", "0.1"),
            ("get", tell(asking.running, "failed"), "--wait"),
            ("list", "--cursor", "x"),
            ("deliveries", new_id()),
            ("deliveries", "--outcome", "nope"),
            ("deliveries", "--cursor", "x"),
        )
    }

    luma.clear_faults()
    expected = [NOT_FOUND, USAGE, UNREACHABLE, REFUSED, RAN_OUT, FAILED, USAGE, NOT_FOUND]
    expected += [USAGE, USAGE]
    assert list(codes.values()) == expected, codes


_ADD = ("webhooks", "add", "https://hooks.example/x")
_CREATE = ("create", "--prompt", "a lake")
WRONG = [
    *((command, "a b") for command in ("get", "watch", "open", "events")),
    ("events", "--follow", "a b"),
    ("events", "--after", str(2**63)),
    ("deliveries", "--outcome", "nope"),
    ("replay", "--outcome", "nope", "--yes"),
    ("backfill", "--upstream", "nope"),
    (*_ADD, "--state", "nope"),
    (*_ADD, "--generation", "a b"),
    *((*_ADD, "--query", query) for query in ("lake stat:x", "x" * 501)),
]
REFUSED_CREATES = [
    *((*_CREATE, "--callback-url", url) for url in ("nota", "http://127.0.0.1/")),
    (*_CREATE, "--idempotency-key", "k" * 256),
]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [*((each, USAGE) for each in WRONG), *((each, REFUSED) for each in REFUSED_CREATES)],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_told_in_the_same_words_by_both_ways(
    shared: Running, arguments: tuple[str, ...], code: int
) -> None:
    database, service = (Command(shared, way)(*arguments) for way in ("database", "service"))

    assert (database.returncode, database.stdout) == (code, "")
    assert (service.returncode, service.stderr) == (code, database.stderr)
    assert "Traceback" not in database.stderr


def test_the_query_of_a_webhook_is_marked_where_it_is_wrong(told: Command) -> None:
    refused = told(*_ADD, "--query", "lake stat:x")

    message, query, mark = refused.stderr.splitlines()
    assert "at character 5: 'stat:x'" in message
    assert (query, mark) == ("lake stat:x", "     ^")


def test_a_backfill_of_everything_says_so_by_both_ways(asking: Command) -> None:
    walk = json.loads(printed(asking, "backfill", "--all", "--json"))

    assert (walk["since"], walk["everything"]) == (None, True)


def test_a_backfill_is_followed_to_its_end(asking: Command) -> None:
    created = asking.running.luma.create()
    asking.running.luma.advance(60)

    line = printed(asking, "backfill", "--all")
    walk = json.loads(printed(asking, "backfill", "--since", "-1h", "--json"))
    refused = asking("backfill", "--upstream", "agents")

    assert line.startswith("dream_machine: done, ")
    assert (walk["state"], walk["error"]) == ("done", None)
    assert json.loads(rest(asking, f"/v1/generations/{created}"))["state"] == "completed"
    assert refused.returncode == REFUSED, refused.stderr


def test_a_service_that_wants_a_token_says_which_setting(tmp_path: Path) -> None:
    with run_service(tmp_path, TRACKER_API_TOKENS="ours,ro:reads") as running:
        command = Command(running, "service")
        none, wrong, good = (
            command("list", **given)
            for given in ({}, {"TRACKER_TOKEN": "theirs"}, {"TRACKER_TOKEN": "ours"})
        )
        reading = command("replay", new_id(), TRACKER_TOKEN="reads")

    assert [run.returncode for run in (none, wrong, good, reading)] == [4, 4, 0, 4]
    assert "TRACKER_TOKEN" in none.stderr
    assert "TRACKER_TOKEN" in wrong.stderr
    assert "may only read" in reading.stderr
    assert "theirs" not in wrong.stderr, "no secret is printed"


def test_where_nobody_or_somebody_else_answers_the_setting_is_named(shared: Running) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with Simulator().running() as luma:
        elsewhere = luma.dream_machine_url.rpartition("/")[0]
        command = Command(shared, "service")
        silent, odd = (command("list", TRACKER_URL=url) for url in (nobody, elsewhere))

    assert (silent.returncode, odd.returncode) == (UNREACHABLE, REFUSED)
    for run in (silent, odd):
        assert "TRACKER_URL" in run.stderr
        assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [("callback-url",), ("webhooks", "secret"), ("db", "current"), ("doctor",)],
    ids=" ".join,
)
def test_what_is_about_this_machine_says_that_it_uses_no_service(
    shared: Running, arguments: tuple[str, ...]
) -> None:
    run = shared.service.command(*arguments, TRACKER_URL=shared.service.url)

    assert "TRACKER_URL is not used" in run.stderr
    assert run.stdout


def test_a_url_that_is_none_stops_the_command(shared: Running) -> None:
    run = shared.service.command("list", TRACKER_URL="localhost")

    assert run.returncode == USAGE
    assert run.stderr.startswith("luma-tracker: TRACKER_URL")


def test_what_follows_a_service_resumes_where_it_was(tmp_path: Path) -> None:
    with run_service(tmp_path, **KEYLESS) as running:
        service, ids = running.service, [new_id() for _ in range(3)]
        following = Command(running, "service").start("events", "--follow", "--after", "0")
        tell_of(running, ids[0])
        until(lambda: len(following.lines) == 1)
        port = service.url.rpartition(":")[2]

        service.stop()
        service.start("--port", port)
        for generation_id in ids[1:]:
            tell_of(running, generation_id)

        until(lambda: len(following.lines) == 3)
        following.process.send_signal(2)
        assert following.end() == 130
        assert [line.split("\t")[2] for line in following.lines] == ids, "no gap, nothing twice"
        assert following.errors == ""


def tell_of(running: Running, generation_id: str) -> None:
    assert call_back(running, body_of(generation_id)).status_code == 200
