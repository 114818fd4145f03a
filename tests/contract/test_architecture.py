"""What imports cannot be allowed to become, and how large a file may grow."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"
LONGEST = 300
"""Lines; a file that needs more does more than one thing."""
NOWHERE = re.compile(r"(^|_)(utils?|helpers?|common|misc|shared)$")
"""Names of places where anything could go."""


def _room(package: Path) -> str:
    return package.parent.relative_to(ROOT).as_posix()


def modules() -> list[Path]:
    """Every module of ours."""
    return sorted(SERVICE.rglob("*.py"))


def test_the_import_rules_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")

    run = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert " 0 broken" in run.stdout


@pytest.mark.parametrize("package", sorted(SERVICE.rglob("__init__.py")), ids=_room)
def test_a_list_of_modules_names_them_all(package: Path) -> None:
    folder = package.parent
    words = ast.get_docstring(ast.parse(package.read_text())) or ""
    lines = re.findall(r"^(\w+(?:, \w+)*)/? {2,}\S", words, re.MULTILINE)
    listed = {name for line in lines for name in line.split(", ")}
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    there = files | {path.parent.name for path in folder.glob("*/__init__.py")}

    if 2 * len(listed & there) > len(listed):  # else it is a list of something else, such as tables
        assert there - listed == set()


def test_no_file_does_more_than_one_thing() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in modules()}

    assert lengths
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > LONGEST} == {}


def test_there_is_no_place_for_just_anything() -> None:
    names = [path.stem for path in modules()] + [path.name for path in SERVICE.rglob("*/")]

    assert [name for name in names if NOWHERE.search(name)] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in modules() if not path.read_text().startswith('"""')]

    assert [str(path.relative_to(ROOT)) for path in silent] == []


def test_only_the_settings_read_the_environment() -> None:
    """The demo hands it on to the process that it starts."""
    readers = {
        str(path.relative_to(SERVICE))
        for path in modules()
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    }

    assert readers <= {"config/environment.py", "cli/demo.py", "cli/demo_parts.py"}
