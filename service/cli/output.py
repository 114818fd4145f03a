"""What commands print: tables on a terminal, plain lines in a pipe, JSON with `--json`."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.domain.text import one_line
from service.storage.listing import Page
from service.storage.shape import GenerationOut
from service.tracking.answer import Answer
from service.tracking.backfill.schema import BackfillOut
from service.tracking.callbacks import Receipt
from service.tracking.schemas import ReplayOut, page_body

if TYPE_CHECKING:
    from service.cli.findings import Finding
    from service.storage.backfills import Walk
    from service.tracking.inspection import Revisions

_COLOURS = {"completed": "green", "failed": "red", "dreaming": "yellow", "processing": "yellow"}
_LEVELS = {"ok": "green", "warning": "yellow", "error": "red"}
_COLUMNS = ("id", "state", "operation", "model", "prompt")

console = Console(highlight=False)


def show_generation(answer: Answer, *, as_json: bool) -> None:
    """Print one generation."""
    if as_json:
        typer.echo(answer.representation.body)
        return
    shown = answer.representation.document()
    del shown["request"]
    assets = shown.pop("assets")
    rows = {**shown, **{f"{name}_url": url for name, url in assets.items()}}
    rows["received"] = f"{max(0, answer.age.total_seconds()):.0f} s ago"
    for name, value in rows.items():
        if value not in (None, [], ""):
            _line(name, value if isinstance(value, str) else json.dumps(value))


def show_page(page: Page, *, as_json: bool, empty_hint: str = "") -> None:
    """Print a page of generations.

    Args:
        empty_hint: what to do if the page is empty; printed on a terminal only.
    """
    generations = [item.generation() for item in page.items]
    if as_json:
        typer.echo(page_body(page))
    elif not generations:
        _show_on_terminal(empty_hint)
    elif console.is_terminal:
        console.print(table_of(generations))
    else:
        for generation in generations:
            typer.echo("\t".join(_cells(generation)))
    if page.next_cursor and not as_json:
        typer.echo(f"More: --cursor {page.next_cursor}", err=True)


def _show_on_terminal(hint: str) -> None:
    """Print to stdout if it is a terminal, else to stderr if that is one, else nowhere."""
    if hint and (sys.stdout.isatty() or sys.stderr.isatty()):
        typer.echo(hint, err=not sys.stdout.isatty())


def table_of(generations: Sequence[GenerationOut]) -> Table:
    """Return generations as a table for a terminal."""
    table = Table(box=None, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True, overflow="ignore" if column == "id" else "ellipsis")
    for generation in generations:
        cells = [escape(cell) for cell in _cells(generation)]
        colour = _COLOURS.get(generation.state, "cyan")
        cells[1] = f"[{colour}]{cells[1]}[/]"
        table.add_row(*cells)
    return table


def show_replays(receipts: Sequence[Receipt], *, as_json: bool) -> None:
    """Print the outcome of each replayed delivery."""
    shown = [ReplayOut.of(receipt) for receipt in receipts]
    if as_json:
        typer.echo(json.dumps([replay.model_dump(mode="json") for replay in shown]))
        return
    for replay in shown:
        typer.echo(f"{replay.delivery_id}\t{replay.outcome}\t{replay.error or ''}".rstrip())
    typer.echo(f"{len(shown)} replayed", err=True)


def show_backfill(walk: "Walk", *, as_json: bool) -> None:
    """Print a backfill."""
    shown = BackfillOut.of(walk)
    if as_json:
        typer.echo(shown.model_dump_json())
        return
    counts = f"{shown.seen} seen, {shown.new} new, {shown.pages} pages"
    typer.echo(f"{shown.upstream}: {shown.state}, {counts}")


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


def _cells(generation: GenerationOut) -> list[str]:
    """Return the columns of one line."""
    return [one_line(str(getattr(generation, name) or "-")) for name in _COLUMNS]
