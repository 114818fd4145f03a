"""The live table of watched generations."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.cli.backend.contract import Json, is_over
from service.cli.output import COLOURS, OTHER_COLOUR
from service.cli.watching.usual import age, duration
from service.domain.text import one_line

_ICONS = {"queued": "○", "completed": "✔", "failed": "✖"}
_OPEN_ICON = "◐"
_BAR_WIDTH = 20
_WIDTHS = {"state": 13, "id": 38, "model": 16, "progress": 22, "time": 22, "prompt": 16}
"""Of each column with its margin, in their order; the prompt takes what is left."""
_MARGIN = 2
_BY_IMPORTANCE = ("state", "id", "time", "progress", "prompt", "model")
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

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table as of now, with as many columns as there is room for."""
        now, widths = datetime.now(UTC), _widths(options.max_width)
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name, width in widths.items():
            table.add_column(name, no_wrap=True, width=width - _MARGIN)
        for generation in sorted(self._generations.values(), key=_order):
            cells = _cells(generation, self._usual.get(generation["id"]), now)
            table.add_row(*(cells[name] for name in widths))
        yield table
        yield Text(one_line(self._trouble()), style="yellow")


def _order(generation: Json) -> tuple[str, str]:
    return generation["created_at"] or generation["first_seen_at"], generation["id"]


def _widths(room: int) -> dict[str, int]:
    """Return the columns that fit, in their order, and their widths; the prompt takes the rest."""
    names = set[str]()
    for name in _BY_IMPORTANCE:
        if room < _WIDTHS[name]:
            break
        room -= _WIDTHS[name]
        names.add(name)
    widths = {name: width for name, width in _WIDTHS.items() if name in names}
    if "prompt" in widths:
        widths["prompt"] += room
    return widths


def _cells(generation: Json, usual: float | None, now: datetime) -> dict[str, RenderableType]:
    """Return the cells of a row, by column."""
    state = generation["state"]
    shown = f"{_ICONS.get(state, _OPEN_ICON)} {one_line(state)}"
    return {
        "state": Text(shown, style=COLOURS.get(state, OTHER_COLOUR)),
        "id": Text(generation["id"]),
        "model": Text(one_line(generation["model"] or generation["operation"] or "-")),
        "progress": _progress(generation, usual, now),
        "time": time_of(generation, usual, now),
        "prompt": Text(one_line(generation["failure_reason"] or generation["prompt"] or "")),
    }


def _progress(generation: Json, usual: float | None, now: datetime) -> RenderableType:
    """Return a bar that is full when the usual time is over."""
    if is_over(generation) or not usual:
        done = 1.0 if is_over(generation) else 0.0
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
    """Return a duration for display: `34 s`, `8:20` or `1:08:20`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return str(timedelta(seconds=round(seconds))).removeprefix("0:").removeprefix("0")
