"""Starting is quick because of what is not imported; that is told here, not timed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import migrated_in

pytestmark = pytest.mark.either_database

HEAVY = {
    "alembic",
    "asyncpg",
    "fastapi",
    "httpx",
    "limits",
    "lumaai",
    "mcp",
    "pydantic",
    "pydantic_settings",
    "sqlalchemy",
    "sqlmodel",
    "starlette",
    "structlog",
    "uvicorn",
}
WANTED_BY_MCP = {"mcp", "pydantic", "pydantic_settings", "sqlalchemy", "sqlmodel", "structlog"}
THE_SDK_S_OWN = {"starlette", "uvicorn"}
REPORT = """
import json, sys
from service.cli import main

try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
ASKED = [
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "list_generations", "arguments": {}},
    },
]


def imported(folder: Path, *arguments: str, said: str = "", **given: str) -> set[str]:
    """The heavy modules that a command has imported by its end."""
    run = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments],
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(folder), **given},
    )
    assert "Traceback" not in run.stderr, run.stderr
    return HEAVY & set(json.loads(run.stderr.splitlines()[-1]))


@pytest.mark.thorough
@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["db"], ["--version"]])
def test_help_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    assert imported(tmp_path, *arguments) <= {"pydantic"}  # the library's, to know its types


@pytest.mark.sqlite
def test_mcp_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """Neither what migrates, since the database is as it should be, nor what asks Luma."""
    said = "".join(json.dumps(message) + "\n" for message in ASKED)
    given = {"TRACKER_DATABASE_URL": migrated_in(tmp_path), "LUMAAI_API_KEY": "luma-key"}

    found = imported(tmp_path, "mcp", said=said, **given)

    assert found - THE_SDK_S_OWN == WANTED_BY_MCP


@pytest.mark.thorough
@pytest.mark.sqlite
def test_mcp_brings_alembic_where_there_is_something_to_migrate(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"

    assert "alembic" in imported(tmp_path, "mcp", TRACKER_DATABASE_URL=url)
