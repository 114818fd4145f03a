"""Logs: one logfmt line per event unless stderr is a terminal, other libraries' warnings too."""

import os
import pty
import re
import subprocess
import sys

import pytest

_PAIR = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|[^\s"=]*)(?: |$)')


def fields(line: str) -> dict[str, str]:
    """The pairs of a logfmt line.

    Raises:
        AssertionError: the line is not logfmt.
    """
    pairs, place = dict[str, str](), 0
    while place < len(line):
        pair = _PAIR.match(line, place)
        assert pair, f"no logfmt from {place}: {line!r}"
        assert pair[1] not in pairs, f"{pair[1]} twice: {line!r}"
        pairs[pair[1]] = pair[2].strip('"')
        place = pair.end()
    return pairs


def _run(program: str) -> list[str]:
    """The lines that a program logs."""
    begin = "import logging\nfrom service.logs import configure, log\n"
    run = subprocess.run(
        [sys.executable, "-c", begin + program], capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    return run.stderr.removesuffix("\n").split("\n") if run.stderr else []


def test_an_event_is_one_line_that_begins_with_when_how_bad_and_what() -> None:
    [line] = _run("configure()\nlog.info('learnt by asking', generation_id='a-1', state='failed')")
    pairs = fields(line)
    assert list(pairs)[:3] == ["timestamp", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", pairs["timestamp"])
    assert pairs["level"] == "info"
    assert pairs["event"] == "learnt by asking"
    assert pairs["generation_id"] == "a-1"


@pytest.mark.parametrize(
    "value",
    ["a\nlevel=error event=forged", "a\r\nb", 'say "hi"', "a=b c", "", "é 😀", "x" * 10_000, None],
)
def test_no_value_can_forge_a_line_or_a_field(value: object) -> None:
    [line] = _run(f"configure()\nlog.warning('kept', reason={value!r}, delivery_id='d-1')")
    pairs = fields(line)
    assert pairs["event"] == "kept"
    assert pairs["level"] == "warning"
    assert pairs["delivery_id"] == "d-1"


def test_an_exception_stays_on_its_line() -> None:
    [line] = _run(
        "configure()\n"
        "try:\n    raise ValueError('two\\nlines')\n"
        "except ValueError:\n    log.exception('not folded', delivery_id='d-1')"
    )
    pairs = fields(line)
    assert pairs["level"] == "error"
    assert "ValueError: two" in pairs["exception"]
    assert pairs["delivery_id"] == "d-1"


def test_what_others_warn_of_comes_in_the_same_form_and_their_chatter_does_not() -> None:
    lines = _run(
        "configure()\n"
        "other = logging.getLogger('uvicorn.error')\n"
        "other.info('chatter')\n"
        "other.warning('Invalid HTTP request: %s', 'a\\nb')"
    )
    assert [fields(line)["event"] for line in lines] == [r"Invalid HTTP request: a\nb"]
    assert fields(lines[0])["level"] == "warning"


def test_a_command_that_prints_for_people_logs_only_warnings() -> None:
    lines = _run("configure(logging.WARNING)\nlog.info('quiet')\nlog.warning('loud')")
    assert [fields(line)["event"] for line in lines] == ["loud"]


def test_configuring_twice_does_not_log_twice() -> None:
    lines = _run("configure()\nconfigure()\nlog.info('once')")
    assert len(lines) == 1


def test_on_a_terminal_it_is_written_for_people() -> None:
    ours, theirs = pty.openpty()
    program = "from service.logs import configure, log\nconfigure()\nlog.info('listening', url='x')"
    subprocess.run([sys.executable, "-c", program], stderr=theirs, timeout=30, check=True)
    os.close(theirs)
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "listening" in said
    assert "event=" not in said
