"""Documentation cannot drift: what can be set, asked, called or made is named in it."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from pydantic import AliasChoices
from typer.main import get_command

from service import errors
from service.cli.app import app
from service.config import Settings
from service.web.problems import problem
from tests.acceptance.conftest import Running

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def words() -> str:
    """README.md and everything under docs/."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(page.read_text() for page in pages)


def settings() -> Iterator[str]:
    """The environment variable, or variables, behind every field."""
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (str(choice) for choice in alias.choices)
        else:
            yield str(alias or f"TRACKER_{name.upper()}")


def commands() -> Iterator[str]:
    """Every command, with the word before it where it has one."""

    def walk(command: Any, before: str = "") -> Iterator[str]:
        for name, inner in getattr(command, "commands", {}).items():
            if getattr(inner, "commands", None):
                yield from walk(inner, f"{before}{name} ")
            else:
                yield f"{before}{name}"

    yield from walk(get_command(app))


def targets() -> list[str]:
    """Every target of the Makefile that is meant for people."""
    return re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def missing(names: Iterator[str] | list[str], words: str, prefix: str = "") -> list[str]:
    """What the words do not name."""
    found = list(names)
    assert found
    return [n for n in found if not re.search(rf"{re.escape(prefix + n)}(?![\w-])", words)]


def test_every_setting_is_documented(words: str) -> None:
    assert missing(settings(), words) == []
    assert "_FILE" in words, "that secrets can come from files"


def test_every_setting_is_in_the_example(words: str) -> None:
    example = (ROOT / ".env.example").read_text()

    assert missing(settings(), words + example) == []
    named = set(re.findall(r"^#?\s?([A-Z][A-Z_]+)=", example, re.MULTILINE))
    known = set(settings())
    assert {n for n in named if n.removesuffix("_FILE") not in known} == set(), "no such setting"


def test_every_route_is_documented(words: str, shared: Running) -> None:
    paths = [re.sub(r"\{\w+\}", "{}", p) for p in shared.http.get("/openapi.json").json()["paths"]]
    plain = re.sub(r"\{\w+\}", "{}", words)

    assert missing([*paths, "/", "/mcp", "/docs", "/redoc", "/openapi.json"], plain) == []


async def test_every_tool_is_documented(words: str, shared: Running) -> None:
    async with Client(f"{shared.service.url}/mcp") as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]

    assert missing(tools, words) == []


def test_every_command_is_documented(words: str) -> None:
    assert missing(commands(), words, prefix="luma-tracker ") == []


def test_every_target_of_the_makefile_is_documented(words: str) -> None:
    assert missing(targets(), words, prefix="make ") == []


def test_every_exit_code_is_documented(words: str) -> None:
    codes = ["0", "1", "2", "3", "4", "5", "124"]

    assert [code for code in codes if not re.search(rf"[`|]\s*{code}\s*[`|]", words)] == []


def test_every_type_that_can_be_answered_is_documented_and_no_other() -> None:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    named = {error.kind for error in ours if issubclass(error, errors.TrackerError)}
    usual = [json.loads(bytes(problem(code, "x").body)) for code in HTTPStatus if code >= 400]
    answered = named | {each["type"].removeprefix("urn:luma-tracker:") for each in usual}
    table = (ROOT / "docs/rest.md").read_text().partition("\n## Errors\n")[2]

    assert set(re.findall(r"^\| \d{3} \| `([\w-]+)` \|", table, re.MULTILINE)) == answered


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if not link.startswith(("http:", "https:", "mailto:")):
                target = page.parent / link
                if not target.exists():
                    broken.append(f"{page.relative_to(ROOT)}: {link}")

    assert broken == []
