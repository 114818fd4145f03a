"""The live table of watched generations."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.cli.backend.contract import Json, is_settled
from service.cli.output import COLOURS, OTHER_COLOUR
from service.cli.watching.usual import age, duration
from service.domain.text import one_line

_ICONS = {"queued": "○", "completed": "✔", "failed": "✖"}
_OPEN_ICON = "◐"
_BAR_WIDTH = 20
_MOST_DONE = 0.99  # nobody knows that it is done before it is


class LiveTable:
    """Draws itself anew whenever rich asks.

    Args:
        generations: by id; they may change.
        usual: how long each takes, in seconds.
        trouble: returns why nothing can be heard at the moment.
    """

    def __init__(
        self,
        generations: Mapping[str, Json],
        usual: Mapping[str, float],
        trouble: Callable[[], str],
    ) -> None:
        self._generations = generations
        self._usual = usual
        self._trouble = trouble

    def __rich__(self) -> RenderableType:
        """Return the table as of now."""
        now, table = datetime.now(UTC), _empty_table()
        for generation in sorted(self._generations.values(), key=_order):
            table.add_row(*_cells(generation, self._usual.get(generation["id"]), now))
        return Group(table, Text(one_line(self._trouble()), style="yellow"))


def _order(generation: Json) -> tuple[str, str]:
    return generation["created_at"] or generation["first_seen_at"], generation["id"]


def _empty_table() -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("state", no_wrap=True)
    table.add_column("id", no_wrap=True, overflow="ignore")
    table.add_column("model", no_wrap=True)
    table.add_column("progress", no_wrap=True, min_width=_BAR_WIDTH)
    table.add_column("time", no_wrap=True)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", ratio=1)
    return table


def _cells(generation: Json, usual: float | None, now: datetime) -> list[RenderableType]:
    state = generation["state"]
    icon = _ICONS.get(state, _OPEN_ICON)
    return [
        Text(f"{icon} {one_line(state)}", style=COLOURS.get(state, OTHER_COLOUR)),
        Text(generation["id"]),
        escape(one_line(generation["model"] or generation["operation"] or "-")),
        _progress(generation, usual, now),
        time_of(generation, usual, now),
        escape(one_line(generation["failure_reason"] or generation["prompt"] or "")),
    ]


def _progress(generation: Json, usual: float | None, now: datetime) -> RenderableType:
    """Return a bar that is full when the usual time is over."""
    if is_settled(generation) or not usual:
        done = 1.0 if is_settled(generation) else 0.0
    else:
        done = min(age(generation, now) / usual, _MOST_DONE)
    colour = COLOURS.get(generation["state"], OTHER_COLOUR)
    return ProgressBar(total=1, completed=done, width=_BAR_WIDTH, finished_style=colour)


def time_of(generation: Json, usual: float | None, now: datetime) -> str:
    """Return how long it took, or takes so far, against the usual time."""
    if generation["gone_at"]:
        return "gone"
    if generation["terminal"]:
        took = duration(generation)
        return _seconds(took) if took else ""
    passed = _seconds(age(generation, now))
    return f"{passed} of about {_seconds(usual)}" if usual else passed


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))
