"""Where figures were measured: without that they say little."""

import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import wrk
from benchmarks.processes import ROOT

_LIBRARIES = (
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools"),
    *("pydantic", "sqlalchemy", "sqlmodel", "mcp"),
)
_MODEL = re.compile(r"^model name\s*: (.+)$", re.MULTILINE)


def described() -> list[str]:
    """Lines for people."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    load = "wrk" if wrk.installed() else "our own generator"
    return [
        f"{_cpu()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; {libraries}",
        f"load by {load}; {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}",
    ]


def _cpu() -> str:
    try:
        found = _MODEL.search(Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return told.stdout.strip() or "unknown"
