"""The application `luma-tracker`: its command groups, its own options and its entry point.

Each command imports what it needs when it runs. `--help` therefore imports nothing heavy.
"""

import sys
from typing import Annotated

import typer

from service.cli import (
    agent_setup,
    archive,
    backfill,
    callback_test,
    callback_url,
    create,
    database,
    deliveries,
    doctor,
    events,
    generations,
    open_page,
    serve,
    stats,
    watch,
    webhooks,
)
from service.cli.exits import errors_to_exit_codes
from service.cli.suggestions import SuggestingGroup

_NAME = "luma-tracker"

app = typer.Typer(
    name=_NAME,
    help="Track the state of Luma generations, and answer lookups without asking Luma again.",
    epilog="Try it without a key: luma-tracker demo",
    cls=SuggestingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (
    *(serve, generations, watch, create, open_page),
    *(events, deliveries, backfill, archive, stats),
    *(callback_url, callback_test, agent_setup, doctor),
):
    app.add_typer(group.commands)
app.add_typer(database.commands, name="db")
app.add_typer(webhooks.commands, name="webhooks")


def main() -> None:
    """Run the command that `sys.argv` names."""
    with errors_to_exit_codes():
        # Named, because `python -m service` must complete and explain itself in the same way.
        app(args=generations.with_default_wait(sys.argv[1:]), prog_name=_NAME)


def _print_version(requested: bool) -> None:
    if requested:
        from service import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass
