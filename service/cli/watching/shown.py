"""What `watch` prints: a live table on a terminal, else a line or a JSON object per change."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.live import Live

from service.cli.backend.contract import Backend, Json, Reply, is_over
from service.cli.exits import FAILED, GONE, WAIT_RAN_OUT
from service.cli.output import console, row
from service.cli.watching.table import LiveTable, time_of
from service.cli.watching.usual import Usual
from service.cli.watching.watch import Watch
from service.domain.text import one_line

_PER_SECOND = 4
_MOST_RESULTS = 20  # printed below the table


async def watch(
    backend: Backend, ids: Sequence[str], seconds: float | None, *, as_json: bool
) -> list[Json]:
    """Watch generations, and print what happens.

    Args:
        backend: where they are.
        ids: which; empty: all open ones.
        seconds: for how long at most; None: until all are settled.
        as_json: whether to print each generation as JSON, whenever it changes.

    Returns:
        The generations as they are at the end.
    """
    if console.is_terminal and not as_json:
        found = await _in_table(backend, ids, seconds, console)
        _show_results(found)
        return found
    watching = Watch(backend, ids, _show_json if as_json else _show_line, _show_trouble)
    await watching.run(seconds)
    return [*watching.generations.values()]


def exit_code(generations: Sequence[Json]) -> int:
    """Return the exit code for generations as they are at the end."""
    if not all(map(is_over, generations)):
        return WAIT_RAN_OUT
    if any(each["state"] == "failed" for each in generations):
        return FAILED
    return GONE if not all(each["terminal"] for each in generations) else 0


def _show_trouble(reason: str) -> None:
    typer.echo(f"luma-tracker: {reason} Trying again.", err=True)


def _show_json(generation: Json) -> None:
    typer.echo(json.dumps(generation, separators=(",", ":"), ensure_ascii=False))


def _show_line(generation: Json) -> None:
    time = time_of(generation, None, datetime.now(UTC))
    told = generation["failure_reason"] or url_of(generation)
    typer.echo(row(generation["id"], generation["state"], time, told))


async def settled(backend: Backend, generation_id: str, seconds: float) -> Reply:
    """Wait until a generation is settled, with a live table on a terminal's stderr."""
    screen = Console(stderr=True)
    if screen.is_terminal:
        await _in_table(backend, [generation_id], seconds, screen, stays=False)
        return await backend.generation(generation_id, wait=0)
    return await backend.generation(generation_id, wait=seconds)


async def _in_table(
    backend: Backend,
    ids: Sequence[str],
    seconds: float | None,
    screen: Console,
    *,
    stays: bool = True,
) -> list[Json]:
    usual = Usual(backend)
    watching = Watch(backend, ids, usual.begin)
    table = LiveTable(watching.generations, usual.known, lambda: watching.trouble)
    with Live(table, console=screen, refresh_per_second=_PER_SECOND, transient=not stays):
        await watching.run(seconds)
    return [*watching.generations.values()]


def _show_results(generations: Sequence[Json]) -> None:
    """Print URLs, to be copied, and reasons of failures whole: a table may cut them."""
    for generation in generations[:_MOST_RESULTS]:
        if told := generation["failure_reason"] or url_of(generation):
            console.print(one_line(told), soft_wrap=True, markup=False)


def url_of(generation: Json) -> str | None:
    if generation["state"] != "completed":
        return None
    found: str | None = generation["assets"]["video"] or generation["assets"]["image"]
    return found
