"""The command that reads Luma's lists: `backfill`."""

from typing import Annotated

import typer

from service.cli.completion import complete_upstreams
from service.cli.opening import with_backend
from service.cli.options import Json, known_upstream

commands = typer.Typer()


@commands.command()
def backfill(
    upstream: Annotated[
        str | None,
        typer.Option(
            help="dream_machine or agents; by default the first that has a key.",
            autocompletion=complete_upstreams,
            callback=known_upstream,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How far back to go: a time, a date, or a time before now such as -24h or -30d.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Read the whole list, even what is stored already.")
    ] = False,
    json: Json = False,
) -> None:
    """Store the generations that Luma lists and that are not stored yet.

    Without --since or --all it ends where an earlier backfill has been. An
    interrupted backfill is continued by the next one, or by a running service.

    Exit codes: 4 Luma refused, 5 Luma cannot be reached.

    Example:

      luma-tracker backfill --since -30d
    """
    from service.cli.output import show_backfill

    reply = with_backend(lambda backend: backend.backfill(upstream, since, everything=everything))
    show_backfill(reply, as_json=json)
