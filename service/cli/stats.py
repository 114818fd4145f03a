"""The command that counts: `stats`."""

from typing import Annotated

import typer

from service.cli.backend.contract import By
from service.cli.opening import with_backend
from service.cli.options import Json

commands = typer.Typer()


@commands.command()
def stats(
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only what was created since: a time, a date, or a time before now such as -30d.",
        ),
    ] = None,
    by: Annotated[By, typer.Option(help="What the series is by.")] = "day",
    json: Json = False,
) -> None:
    """Count generations by state, cost, time to finish and failure; sends no request to Luma.

    In a pipe it prints the series only: key, generations, completed, failed, cost
    in dollars, and median and 95th percentile of the time to finish in seconds,
    separated by tabs.

    Example:

      luma-tracker stats --since -30d --by model
    """
    from service.cli.stats_output import show_stats

    show_stats(with_backend(lambda backend: backend.stats(since, by)), as_json=json)
