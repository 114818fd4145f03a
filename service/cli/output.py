"""What commands print: tables on a terminal, plain lines in a pipe, JSON with `--json`."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.cli.backend.contract import Json, Reply
from service.domain.text import one_line

if TYPE_CHECKING:
    from service.cli.findings import Finding
    from service.tracking.inspection import Revisions

COLOURS = {"completed": "green", "failed": "red", "dreaming": "yellow", "processing": "yellow"}
OTHER_COLOUR = "cyan"
_LEVELS = {"ok": "green", "warning": "yellow", "error": "red"}
_COLUMNS = ("id", "state", "operation", "model", "prompt")

console = Console(highlight=False)


def show_generation(reply: Reply, *, as_json: bool) -> None:
    """Print one generation."""
    if as_json:
        typer.echo(reply.body)
        return
    shown = reply.document
    shown.pop("request", None)
    assets = shown.pop("assets")
    rows = {**shown, **{f"{name}_url": url for name, url in assets.items()}}
    if reply.age is not None:
        rows["received"] = f"{reply.age:.0f} s ago"
    for name, value in rows.items():
        if value not in (None, [], ""):
            _line(name, value if isinstance(value, str) else json.dumps(value))


def show_page(page: Reply, *, as_json: bool, empty_hint: str = "") -> None:
    """Print a page of generations.

    Args:
        page: as the REST API answers it.
        as_json: whether to print it as it is.
        empty_hint: what to do if the page is empty; printed on a terminal only.
    """
    if as_json:
        typer.echo(page.body)
        return
    generations = page.items
    if not generations:
        show_hint(empty_hint)
    elif console.is_terminal:
        console.print(table_of(generations))
    else:
        for generation in generations:
            typer.echo("\t".join(_cells(generation)))
    show_next_page(page)


def show_next_page(page: Reply) -> None:
    """Say on stderr how to go on, if a page is not the last."""
    if (shown := page.document)["has_more"]:
        typer.echo(f"More: --cursor {shown['next_cursor']}", err=True)


def show_hint(hint: str) -> None:
    """Print to stdout if it is a terminal, else to stderr if that is one, else nowhere."""
    if hint and (sys.stdout.isatty() or sys.stderr.isatty()):
        typer.echo(hint, err=not sys.stdout.isatty())


def table_of(generations: Sequence[Json]) -> Table:
    """Return generations as a table for a terminal."""
    table = Table(box=None, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True, overflow="ignore" if column == "id" else "ellipsis")
    for generation in generations:
        cells = [escape(cell) for cell in _cells(generation)]
        cells[1] = coloured(generation["state"], cells[1])
        table.add_row(*cells)
    return table


def coloured(state: str, markup: str) -> str:
    """Return markup in the colour of a state."""
    return f"[{COLOURS.get(state, OTHER_COLOUR)}]{markup}[/]"


def row(*cells: object) -> str:
    """Return cells separated by tabs; none of them can start a new line."""
    return "\t".join(one_line("-" if cell in (None, "") else str(cell)) for cell in cells)


def show_backfill(reply: Reply, *, as_json: bool) -> None:
    """Print a backfill."""
    if as_json:
        typer.echo(reply.body)
        return
    shown = reply.document
    counts = f"{shown['seen']} seen, {shown['new']} new, {shown['pages']} pages"
    typer.echo(f"{shown['upstream']}: {shown['state']}, {counts}")


def show_value(name: str, value: str | None, *, as_json: bool) -> None:
    """Print one value."""
    typer.echo(json.dumps({name: value}) if as_json else value or "none")


def show_revision(found: "Revisions", *, as_json: bool) -> None:
    """Print the database's revision; unfinished rewrites go to stderr."""
    if as_json:
        rewrites = [
            {"name": each.name, "rows": each.done, "finished": each.finished_at is not None}
            for each in found.rewrites
        ]
        typer.echo(json.dumps({"revision": found.current, "rewrites": rewrites}))
        return
    typer.echo(found.current or "none")
    for each in found.rewrites:
        if each.finished_at is None:
            typer.echo(f"rewriting {each.name}: {each.done} rows done", err=True)


def show_findings(findings: "Sequence[Finding]", *, as_json: bool) -> None:
    """Print the findings of `doctor`."""
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings]))
        return
    for finding in findings:
        mark = f"[{_LEVELS[finding.level]}]{finding.level:<7}[/]"
        message = escape(one_line(f"{finding.about}: {finding.message}"))
        console.print(f"{mark} {message}", soft_wrap=True)


def _line(name: str, value: str) -> None:
    console.print(f"[bold]{name + ':':<15}[/] {escape(one_line(value))}", soft_wrap=True)


def _cells(generation: Json) -> list[str]:
    """Return the columns of one line."""
    return [one_line(str(generation[name] or "-")) for name in _COLUMNS]
