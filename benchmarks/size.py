"""Rows of size: what a table of a million rows does to the time of the commonest questions."""

import asyncio
from datetime import timedelta

from benchmarks.finding import Finding
from benchmarks.growth import measure
from benchmarks.questions import QUESTIONS
from benchmarks.stage import Stage

_POINT, _PAGE = "point read", "newest page"
_ROUNDS = 40


def point_read(stage: Stage) -> Finding:
    """A lookup in the database."""
    return _grown(stage, _POINT)


def newest_page(stage: Stage) -> Finding:
    """The newest page of 20."""
    return _grown(stage, _PAGE)


def _grown(stage: Stage, name: str) -> Finding:
    small, large = sizes = (1_000, 100_000 if stage.quick else 1_000_000)
    times = stage.once("growth", lambda: _measured(sizes))
    ours, peer = times[name, large], times[name, small]
    note = f"{large:,} rows against {small:,}"
    return Finding(ours / peer, f"{ours * 1e6:,.0f} µs", f"{peer * 1e6:,.0f} µs", note)


def _measured(sizes: tuple[int, int]) -> dict[tuple[str, int], float]:
    asked = [question for question in QUESTIONS if question.name in (_POINT, _PAGE)]
    return asyncio.run(measure("sqlite", sizes, _ROUNDS, asked, timedelta(0)))[0]
