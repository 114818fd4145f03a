"""The files around the code: CI, pre-commit hooks, changelog, version, security policy."""

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CI: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
HOOKS: list[dict[str, Any]] = [
    {"repo": repo["repo"], **hook}
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repo["hooks"]
]


def test_ci_runs_what_must_pass_on_every_python_that_is_supported() -> None:
    check = CI["jobs"]["check"]
    oldest = re.fullmatch(r">=(3\.\d+)", PROJECT["requires-python"])

    assert set(CI[True]) == {"push", "pull_request"}, "YAML reads `on` as a boolean"
    assert oldest
    assert check["strategy"]["matrix"]["python"] == [oldest[1], "3.12", "3.13"]
    assert check["container"]["image"].endswith("-bookworm"), "its apt has PostgreSQL 15"
    assert check["steps"][-1] == {"run": "bash .ci/run"}
    assert (ROOT / ".ci/run").exists()
    assert "PYTHON" in check["env"]
    assert re.search(r"^PYTHON \?=", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_ci_cannot_write_to_the_repository() -> None:
    assert CI["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_hooks_run_tools_of_the_project_in_the_versions_of_the_project(
    hook: dict[str, Any],
) -> None:
    assert hook["repo"] == "local"
    assert hook["language"] in ("system", "fail")
    if hook["language"] == "system":
        program = shlex.split(hook["entry"])[0]
        assert program == "git" or Path(program).parent == Path(".venv/bin")
        assert program == "git" or Path(sys.executable).with_name(Path(program).name).exists()


def test_the_changelog_has_a_section_for_what_comes_next() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d|unreleased)", heading)


def test_the_version_is_one_that_can_be_released() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])


def test_the_security_policy_says_how_to_report_and_invents_no_address() -> None:
    policy = (ROOT / "SECURITY.md").read_text()

    for part in ("Report a vulnerability", "Supported versions", "In scope", "Not in scope"):
        assert re.search(rf"^## {part}$", policy, re.MULTILINE), part
    assert "security advisories" in policy
    assert not re.search(r"\S@\S+\.\S|https?://", policy)
