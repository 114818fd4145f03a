"""The results as a table, and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.finding import Finding, Row
from benchmarks.rows import ROWS

FOLDER = Path(__file__).parent
_PLOT = "results.svg"
_HEAD = (
    "row", "path", "against", "figure", "target", "floor", "ours", "peer", "also"
)  # fmt: skip
_INTRODUCTION = """# Speed

Made by `make bench`; do not edit. Ours and the peer are processes of their own, loaded in turn by
slices; figures are medians of the ratios of neighbouring slices. `ours` and `peer` are answers per
second and server CPU for each, where nothing else is said. Figures of one machine are for
comparing paths on it, not for comparing machines.
"""

Results = Mapping[str, Finding | str]
"""By the row's name; why, where a row was skipped."""


def table(results: Results) -> list[str]:
    """In Markdown."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    rows = [row for row in ROWS if row.name in results]
    return lines + [f"| {' | '.join(_cells(row, results[row.name]))} |" for row in rows]


def refused(results: Results) -> list[str]:
    """The rows that cannot be let pass."""
    found = [
        row.refused(result) for row in ROWS if isinstance(result := results.get(row.name), Finding)
    ]
    return [reason for reason in found if reason]


def write(results: Results, machine: Sequence[str]) -> None:
    """Put them where people look."""
    from benchmarks.drawing import draw

    found = [(r, f) for r in ROWS if isinstance(f := results.get(r.name), Finding)]
    draw(FOLDER / _PLOT, [(row, finding) for row, finding in found if finding.figure > 0])
    page = [_INTRODUCTION, *(f"- {line}" for line in machine), "", *table(results), ""]
    page.append(f"![How far each figure is from its target]({_PLOT})\n")
    (FOLDER / "RESULTS.md").write_text("\n".join(page))


def _cells(row: Row, result: Finding | str) -> list[str]:
    bounds = [row.bound(row.target), row.bound(row.floor)]
    if isinstance(result, str):
        return [row.name, row.path, row.against, "skipped", *bounds, "", "", result]
    also = "; ".join(filter(None, (result.fault, result.other)))
    figure = row.shown(result.figure)
    if row.meets(result.figure, row.target) and not result.fault:
        figure = f"**{figure}**"
    return [row.name, row.path, row.against, figure, *bounds, result.ours, result.peer, also]
