"""The command that shows what changed: `events`."""

import json as json_module
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.completion import complete_ids
from service.cli.opening import with_backend
from service.cli.options import Json, Limit, usable_id

if TYPE_CHECKING:
    from service.cli.backend.contract import Backend, Reply
    from service.cli.backend.contract import Json as JsonObject

commands = typer.Typer()
_LAST = 2**63 - 1  # the databases count in 64 bits


@commands.command()
def events(
    generation_id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="Only this generation, from its beginning.",
            autocompletion=complete_ids,
            callback=usable_id,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with each change as it happens.")
    ] = False,
    after: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_LAST,
            help="Only changes after this number, which each line begins with.",
        ),
    ] = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Show the changes of all generations, oldest first: the latest of them, or those --after one.

    Prints number, time, generation, old and new state and source, separated by
    tabs. With --follow, --json prints one object per line.

    Example:

      luma-tracker events --follow
    """

    async def show(backend: "Backend") -> None:
        if follow:
            await _follow(backend, generation_id, after, as_json=json)
        else:
            _show_page(await _page(backend, generation_id, after, limit), as_json=json)

    with_backend(show)


async def _page(
    backend: "Backend", generation_id: str | None, after: int | None, limit: int
) -> "Reply":
    if generation_id is not None:
        return await backend.events_of(generation_id, after or 0, limit)
    if after is None:
        after = max(0, await backend.newest_event() - limit)
    return await backend.events(after, limit)


async def _follow(
    backend: "Backend", generation_id: str | None, after: int | None, *, as_json: bool
) -> None:
    start = await backend.newest_event() if after is None else after
    async with aclosing(backend.follow(start)) as batches:
        async for changes in batches:
            for change in changes:
                if generation_id in (None, change["generation_id"]):
                    _show(change, as_json=as_json)


def _show_page(page: "Reply", *, as_json: bool) -> None:
    if as_json:
        typer.echo(page.body)
        return
    for change in page.items:
        _show(change, as_json=False)
    if (shown := page.document)["has_more"]:
        typer.echo(f"More: --after {shown['next_cursor']}", err=True)


def _show(change: "JsonObject", *, as_json: bool) -> None:
    from service.cli.output import row

    if as_json:
        typer.echo(json_module.dumps(change))
        return
    names = ("generation_id", "from_state", "to_state", "source")
    typer.echo(row(change["seq"], f"{change['at'][:19]}Z", *(change[name] for name in names)))
