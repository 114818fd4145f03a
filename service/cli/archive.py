"""The command that copies assets to the archive: `archive`."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.opening import on_this_machine, with_tracker
from service.cli.options import Json, Words

if TYPE_CHECKING:
    from service.tracking.tracker import Tracker

commands = typer.Typer()
_MOST_SHOWN = 1000


@commands.command()
def archive(
    missing: Annotated[
        bool, typer.Option("--missing", help="List what is not kept, and why; copy nothing.")
    ] = False,
    q: Words = None,
    json: Json = False,
) -> None:
    """Copy the assets of completed generations that are not kept yet.

    Without --query: of all of them. Works on the database and the archive of this
    machine, beside a running service if there is one. An interrupted run is
    continued by the next one.

    Example:

      luma-tracker archive --query 'upstream:agents after:-30d'
    """
    from service.cli.archive_output import show_missing, show_standing
    from service.cli.archive_progress import copying
    from service.domain.query import parse

    query = parse(q or "")
    settings = on_this_machine("the database and the archive")
    if missing:
        found = with_tracker(settings, lambda tracker: tracker.archive.missing(_MOST_SHOWN, query))
        show_missing(found, as_json=json)
        return

    async def copy(tracker: "Tracker") -> object:
        with copying(await tracker.archive.add_missing(query)) as done:
            await tracker.archive.copy_due(done)
        return await tracker.archive.standing()

    show_standing(with_tracker(settings, copy), as_json=json)
