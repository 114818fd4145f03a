"""The programs that `make node-tools` installs: the MCP conformance suite, and Spectral."""

import os
import subprocess
from pathlib import Path

import pytest

_PROGRAMS = Path(__file__).parent / "node" / "node_modules" / ".bin"
_LONGEST = 120  # seconds


def run(program: str, *arguments: str | Path) -> str:
    """Run a program, and return what it prints; a failure fails the test.

    Without the programs the test is skipped, except in CI.
    """
    if not (_PROGRAMS / program).exists() and not os.environ.get("CI"):
        pytest.skip("run `make node-tools` first; it needs npm")
    path = f"{_PROGRAMS}{os.pathsep}{os.environ['PATH']}"  # node is among them: a newer one
    done = subprocess.run(
        [_PROGRAMS / program, *arguments],
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=_LONGEST,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
