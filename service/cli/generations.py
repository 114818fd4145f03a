"""The commands that read generations: `get` and `list`."""

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.exits import FAILED, GONE, WAIT_RAN_OUT
from service.cli.opening import load_settings, with_tracker
from service.cli.options import Json

if TYPE_CHECKING:
    from service.storage.listing import Query
    from service.tracking.tracker import Tracker

DEFAULT_WAIT = 600
"""Seconds."""
NOTHING_STORED = (
    "No generations are stored yet. Pass the URL from `luma-tracker callback-url` to Luma as "
    "`callback_url` when you create a generation, or look one up with `luma-tracker get ID`."
)
NOTHING_MATCHES = (
    "No stored generation matches these filters. Run `luma-tracker list` without them to see all."
)
NOTHING_AFTER = "No generations after this cursor. Run `luma-tracker list` to start at the newest."

commands = typer.Typer()


@commands.command()
def get(
    generation_id: Annotated[
        str, typer.Argument(metavar="ID", help="The generation's id, as Luma returned it.")
    ],
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="[SECONDS]",
            help=f"Wait for a terminal state, {DEFAULT_WAIT} s unless you give a number.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Fetch the generation from Luma first.")
    ] = False,
    json: Json = False,
) -> None:
    """Look up one generation.

    Luma is asked only if the generation is not stored, if its asset URLs have
    expired, with --fresh, or if nothing is reported during --wait.

    Exit codes with --wait: 0 completed, 1 failed, 3 gone, 124 the wait timed out.

    Example:

      luma-tracker get 12d69920-e07b-41ae-af29-df4d37d5b864 --wait 60
    """
    from service.cli.output import show_generation

    async def look_up(tracker: "Tracker") -> Any:
        if wait is not None:
            return await tracker.wait(generation_id, wait, fresh=fresh)
        return await tracker.lookup(generation_id, fresh=fresh)

    answer = with_tracker(load_settings(), look_up)
    show_generation(answer, as_json=json)
    generation = answer.generation
    if wait is not None and not generation.terminal:
        raise typer.Exit(GONE if generation.gone_at else WAIT_RAN_OUT)
    if wait is not None and generation.state == "failed":
        raise typer.Exit(FAILED)


@commands.command("list")
def list_(
    state: Annotated[
        list[str] | None, typer.Option(help="For example completed, failed or dreaming.")
    ] = None,
    upstream: Annotated[list[str] | None, typer.Option(help="dream_machine or agents.")] = None,
    operation: Annotated[
        list[str] | None, typer.Option(help="For example video, image or upscale_video.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="For example ray-2 or photon-1.")] = None,
    q: Annotated[
        str | None,
        typer.Option("-q", "--q", help="Words to find in the prompt, id or failure reason."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most generations to print.")] = 20,
    cursor: Annotated[
        str | None, typer.Option(help="Continue after an earlier page, which printed this cursor.")
    ] = None,
    json: Json = False,
) -> None:
    """List stored generations, newest first; sends no request to Luma.

    You can repeat --state, --upstream, --operation and --model: a generation
    matches if it has any of the values.

    Example:

      luma-tracker list --state failed --state completed -q lake
    """
    from service.cli.output import show_page
    from service.domain.query import parse
    from service.storage.listing import Query

    query = Query(
        state=tuple(state or ()),
        upstream=tuple(upstream or ()),
        operation=tuple(operation or ()),
        model=tuple(model or ()),
        q=parse(q or ""),
        limit=limit,
        cursor=cursor,
    )
    page = with_tracker(load_settings(), lambda tracker: tracker.page(query))
    show_page(page, as_json=json, empty_hint=_empty_hint(query))


def _empty_hint(query: "Query") -> str:
    """Return what to do if the page is empty."""
    if query.state or query.upstream or query.operation or query.model or query.q.terms:
        return NOTHING_MATCHES
    return NOTHING_AFTER if query.cursor else NOTHING_STORED


def with_default_wait(arguments: list[str]) -> list[str]:
    """Add the seconds to a `--wait` without a value: Typer has no options with optional values."""
    complete = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        complete.append(argument)
        if argument == "--wait" and not following.replace(".", "", 1).isdigit():
            complete.append(str(DEFAULT_WAIT))
    return complete
