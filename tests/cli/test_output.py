"""What commands print: JSON for programs, plain lines for a pipe, whatever Luma sends."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from service import errors
from service.cli.backend.contract import Reply
from service.cli.exits import CommandError, errors_to_exit_codes
from service.cli.findings import Finding, Level
from service.cli.output import show_findings, show_generation, show_page, table_of
from service.domain.generation import Generation, Observation, Source
from service.domain.merge import merge
from service.storage.listing import Listed, Page
from service.tracking.schemas import page_body
from tests.reference import body_of

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def row(**given: Any) -> Generation:
    """A row with one observation."""
    values = {"id": "a", "upstream": "dream_machine", "source": Source.CALLBACK, **given}
    return merge(None, Observation(**values), NOON)[0]


def answer(generation: Generation) -> Reply:
    """An answer of the tracker."""
    return Reply(body_of(generation), 12.4)


def test_json_is_the_bytes_of_the_rest_api(capsys: pytest.CaptureFixture[str]) -> None:
    generation = row(prompt="[bold]ein See[/] 湖")
    show_generation(answer(generation), as_json=True)
    assert capsys.readouterr().out == body_of(generation).decode() + "\n"


def test_a_generation_is_one_line_for_each_thing_that_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    generation = row(
        state="completed",
        prompt="[red]not a colour[/red] \\[x]" + "x" * 300,
        assets={"video": "https://v"},
        request={"secret": 1},
    )
    show_generation(answer(generation), as_json=False)
    printed = capsys.readouterr().out
    lines = dict(line.split(":", 1) for line in printed.splitlines())
    assert lines["id"].strip() == "a"
    assert lines["video_url"].strip() == "https://v"
    assert lines["prompt"].strip() == generation.prompt, "in one line, as it is"
    assert lines["verified"].strip() == "false"
    assert lines["received"].strip() == "12 s ago"
    assert not {"image_url", "failure_reason", "gone_at", "request", "outputs"} & set(lines)


def page(*generations: Generation, after: str | None = None) -> Reply:
    """A page as the REST API answers it."""
    items = [Listed(each.id, each.rev, body_of(each)) for each in generations]
    return Reply(page_body(Page(items, after)))


def test_a_page_is_a_line_each_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    odd = row(id="b", state="failed", prompt="two\nlines\tand a tab")
    show_page(page(row(operation="video", model="ray-2"), odd, after="next"), as_json=False)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "a\tunknown\tvideo\tray-2\t-",
        "b\tfailed\t-\t-\ttwo lines and a tab",
    ]
    assert printed.err == "More: --cursor next\n"


def test_a_page_as_json_is_one_object_on_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show_page(page(row(), after="next"), as_json=True)
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert shown["items"] == [json.loads(body_of(row()))]
    assert (shown["next_cursor"], shown["has_more"]) == ("next", True)
    assert printed.err == ""


def test_an_empty_page_is_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show_page(page(), as_json=False, empty_hint="Do this.")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_table_shows_what_is_said_and_does_not_obey_it() -> None:
    generation = row(id="[red]x[/]", state="[/]", prompt="[link=file:///]click[/link]")
    screen = io.StringIO()
    Console(file=screen, width=200).print(table_of(page(generation).items))
    shown = screen.getvalue()
    assert "[red]x[/]" in shown
    assert "[link=file:///]click[/link]" in shown
    assert "[/]" in shown


FINDINGS = [
    Finding("database", "at [0001]"),
    Finding("access", "open", Level.WARNING),
    Finding("callbacks [x]", "no answer", Level.ERROR),
]


def test_findings_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings(FINDINGS, as_json=False)
    ok, warning, error = capsys.readouterr().out.splitlines()
    assert ok.split() == ["ok", "database:", "at", "[0001]"]
    assert warning.split() == ["warning", "access:", "open"]
    assert error.split() == ["error", "callbacks", "[x]:", "no", "answer"]


def test_findings_as_json_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings(FINDINGS, as_json=True)
    assert json.loads(capsys.readouterr().out)[2] == {
        "about": "callbacks [x]",
        "message": "no answer",
        "level": "error",
    }


EXITS = [
    (errors.InvalidInput("id", "odd"), 2),
    (errors.SettingsError("TRACKER_PORT: odd."), 2),
    (errors.NotFound("nobody knows it"), 3),
    (errors.UpstreamRefused("agents", "no"), 4),
    (errors.UpstreamUnavailable("agents", "later"), 5),
    (errors.StoreUnavailable("locked"), 1),
    (errors.UpstreamError("agents", "no key"), 4),
    (CommandError(5, "the service is down"), 5),
]


@pytest.mark.parametrize(("error", "code"), EXITS)
def test_an_error_is_one_line_and_an_exit_code(
    error: errors.TrackerError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left, errors_to_exit_codes():
        raise error
    printed = capsys.readouterr()
    assert left.value.code == code
    assert printed.out == ""
    assert printed.err == f"luma-tracker: {error} {error.hint}".rstrip() + "\n"


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(LookupError), errors_to_exit_codes():
        raise LookupError("a bug")
