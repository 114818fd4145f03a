"""The picture of the results: how far each figure is from its target."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.finding import Finding, Row

_MET, _MISSED, _FAINT = "#2a9d6f", "#d08a2e", "#666666"
_ROW_HEIGHT = 0.36  # inches
_LEAST = 0.001  # where bars begin: there is no 0 on this scale


def draw(file: Path, found: Sequence[tuple[Row, Finding]]) -> None:
    """A bar for each row; 1 is its target, the mark its floor."""
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "results", "font.size": 9.0}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9, 1.2 + _ROW_HEIGHT * len(found)), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="of the target (right of 1: better)")
        for place, (row, finding) in enumerate(reversed(found)):
            _bar(axes, place, row, finding)
        axes.axvline(1, color=_FAINT, lw=1, ls="--")
        axes.set_yticks(range(len(found)), [row.name for row, _ in reversed(found)])
        of_targets = [_of_target(row, finding.figure) for row, finding in found]
        axes.set_xlim(min([*of_targets, 0.5]) / 1.5, max([*of_targets, 1.5]) * 2.5)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, metadata={"Date": None})


def _bar(axes: Axes, place: int, row: Row, finding: Finding) -> None:
    reached = _of_target(row, finding.figure)
    colour = _MET if reached >= 1 else _MISSED
    axes.barh(place, reached - _LEAST, left=_LEAST, color=colour, height=0.6)
    axes.annotate(f" {row.shown(finding.figure)}", (reached, place), va="center", color=_FAINT)
    if row.floor is not None:
        axes.plot([_of_target(row, row.floor)] * 2, [place - 0.4, place + 0.4], "k-", lw=1)


def _of_target(row: Row, figure: float) -> float:
    """How many times the target; of what is to be small, the other way round."""
    return figure / row.target if row.least else row.target / max(figure, 1e-6)
