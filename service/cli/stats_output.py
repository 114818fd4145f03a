"""What `stats` prints: a summary and a table on a terminal, the series in a pipe, or JSON."""

import typer
from rich.table import Table

from service.cli.backend.contract import Json, Reply
from service.cli.output import console, row
from service.domain.text import one_line

_COLUMNS = ("key", "generations", "completed", "failed", "cost_usd_estimate", "p50", "p95")
_MOST_FAILURES = 5


def show_stats(reply: Reply, *, as_json: bool) -> None:
    """Print statistics."""
    if as_json:
        typer.echo(reply.body)
        return
    shown = reply.document
    if not console.is_terminal:
        for item in shown["series"]:
            typer.echo(row(*_cells(item)))
        return
    for line in _summary(shown):
        console.print(one_line(line), markup=False, soft_wrap=True)
    console.print(_table(shown["series"]))


def _summary(shown: Json) -> list[str]:
    totals, times = shown["totals"], shown["time_to_finish"]
    states = ", ".join(f"{count} {state}" for state, count in totals["by_state"].items())
    lines = [
        f"{totals['generations']} generations: {states or 'none'}",
        f"about ${totals['cost_usd_estimate']:.2f}; finished in {_time(times['p50'])} (median), "
        f"{_time(times['p95'])} (95 of 100)",
        f"{totals['lookups']} lookups, {totals['upstream_requests']} requests to Luma",
    ]
    failures = shown["failures"][:_MOST_FAILURES]
    lines += [f"{each['count']} failed: {each['reason']}" for each in failures]
    if not shown["complete"]:
        lines.append("Not all generations are counted yet; the service is still counting.")
    return lines


def _table(series: list[Json]) -> Table:
    table = Table(box=None, header_style="bold")
    for name in _COLUMNS:
        label = {"cost_usd_estimate": "cost"}.get(name, name)
        table.add_column(label, justify="left" if name == "key" else "right")
    for item in series:
        table.add_row(*(one_line(cell or "-") for cell in _cells(item)))
    return table


def _cells(item: Json) -> list[str]:
    counts = [str(item[name]) for name in ("generations", "completed", "failed")]
    times = ["" if item[name] is None else f"{item[name]:.1f}" for name in ("p50", "p95")]
    return [item["key"], *counts, f"{item['cost_usd_estimate']:.2f}", *times]


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"
