"""The walks in docs/architecture.md name files and functions that exist and reach each other."""

import ast
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import grimp
import pytest

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
WALKS = ("One callback", "One lookup", "One lookup through the gateway")
MOST_STOPS = 10
STOP = re.compile(
    r"^\d+\. (?:`(?P<path>service/[\w/]+\.py):(?P<name>\w+(?:\.\w+)?)`)?", re.MULTILINE
)


class Stop(NamedTuple):
    """One numbered line of a walk."""

    path: str
    name: str

    @property
    def module(self) -> str:
        """The dotted name of its file."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def stops(walk: str) -> list[Stop]:
    """The numbered lines of a section; a line without a file and function has empty names."""
    _, _, rest = PAGE.read_text().partition(f"\n## {walk}\n")
    section = rest.partition("\n## ")[0]
    return [Stop(found["path"] or "", found["name"] or "") for found in STOP.finditer(section)]


def defined_in(source: str) -> set[str]:
    """The names of functions and methods in a module: `function` and `Class.method`."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, methods)}
    return names


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Which module of ours imports which."""
    return grimp.build_graph("service", cache_dir=None)


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_has_at_most_ten_stops(walk: str) -> None:
    found = stops(walk)

    assert 2 < len(found) <= MOST_STOPS
    assert [n for n, stop in enumerate(found, 1) if not stop.path] == [], "no `file:function`"


@pytest.mark.parametrize("walk", WALKS)
def test_every_stop_is_there(walk: str) -> None:
    lost = [
        f"{stop.path}:{stop.name}"
        for stop in stops(walk)
        if not (ROOT / stop.path).is_file()
        or stop.name not in defined_in((ROOT / stop.path).read_text())
    ]

    assert lost == []


@pytest.mark.parametrize("walk", WALKS)
def test_every_stop_reaches_the_next(walk: str, imports: grimp.ImportGraph) -> None:
    """One of the two modules imports the other, directly or not: calls may go back by a future."""
    there_are = [stop for stop in stops(walk) if stop.module in imports.modules]
    apart = [
        f"{here.module} and {there.module}"
        for here, there in pairwise(there_are)
        if here.module != there.module
        and not imports.chain_exists(importer=here.module, imported=there.module)
        and not imports.chain_exists(importer=there.module, imported=here.module)
    ]

    assert apart == []
