"""The command that watches generations: `watch`."""

import typer

from service.cli.opening import with_backend
from service.cli.options import Ids, Json, WaitAtMost

NOTHING_OPEN = (
    "No generation is open. Create one with `luma-tracker create`, or see all with "
    "`luma-tracker list`."
)

commands = typer.Typer()


@commands.command()
def watch(ids: Ids = None, wait: WaitAtMost = None, json: Json = False) -> None:
    """Watch generations until all are terminal: those you name, else all open ones.

    On a terminal it shows a live table, with progress against the time that such
    generations usually take. In a pipe it prints a line for each generation and
    for each of its changes: id, state, time, and failure or URL, separated by
    tabs. With --json each line is the whole generation.

    Exit codes: 0 all completed, 1 one failed, 3 not found or gone, 5 Luma or the
    service cannot be reached, 124 the time of --wait is over.

    Examples:

      luma-tracker watch

      luma-tracker watch 12d69920-e07b-41ae-af29-df4d37d5b864 --wait 300 --json
    """
    from service.cli.output import show_hint
    from service.cli.watching.shown import exit_code
    from service.cli.watching.shown import watch as watch_them

    wanted = list(dict.fromkeys(ids or ()))
    found = with_backend(lambda backend: watch_them(backend, wanted, wait, as_json=json))
    if not found:
        show_hint(NOTHING_OPEN)
    raise typer.Exit(exit_code(found))
