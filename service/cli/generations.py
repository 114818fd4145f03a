"""The commands that read generations: `get` and `list`."""

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.exits import FAILED, GONE, WAIT_RAN_OUT
from service.cli.opening import with_backend
from service.cli.options import (
    DEFAULT_WAIT,
    Cursor,
    Id,
    Json,
    Limit,
    Models,
    Operations,
    States,
    Upstreams,
    Wait,
    Words,
)

if TYPE_CHECKING:
    from service.cli.backend.contract import Filters, Reply

NOTHING_STORED = (
    "No generations are stored yet. Pass the URL from `luma-tracker callback-url` to Luma as "
    "`callback_url` when you create a generation, or look one up with `luma-tracker get ID`."
)
NOTHING_MATCHES = (
    "No stored generation matches these filters. Run `luma-tracker list` without them to see all."
)
NOTHING_AFTER = "No generations after this cursor. Run `luma-tracker list` to start at the newest."
_OPTIONAL_VALUE = "--wait"

commands = typer.Typer()


@commands.command()
def get(
    generation_id: Id,
    wait: Wait = None,
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

    reply = with_backend(lambda backend: backend.generation(generation_id, fresh=fresh, wait=wait))
    show_generation(reply, as_json=json)
    if wait is not None:
        exit_by_outcome(reply)


def exit_by_outcome(reply: "Reply") -> None:
    """End the command with the exit code of a wait, unless the generation was completed."""
    generation = reply.document
    if not generation["terminal"]:
        raise typer.Exit(GONE if generation["gone_at"] else WAIT_RAN_OUT)
    if generation["state"] == "failed":
        raise typer.Exit(FAILED)


@commands.command("list")
def list_(
    state: States = None,
    upstream: Upstreams = None,
    operation: Operations = None,
    model: Models = None,
    q: Words = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List stored generations, newest first; sends no request to Luma.

    You can repeat --state, --upstream, --operation and --model: a generation
    matches if it has any of the values.

    Example:

      luma-tracker list --state failed --state completed -q lake
    """
    from service.cli.output import show_page

    filters: Filters = {
        "state": state,
        "upstream": upstream,
        "operation": operation,
        "model": model,
        "q": q,
        "limit": limit,
        "cursor": cursor,
    }
    page = with_backend(lambda backend: backend.generations(filters))
    show_page(page, as_json=json, empty_hint=_empty_hint(filters))


def _empty_hint(filters: "Filters") -> str:
    """Return what to do if the page is empty."""
    if any(filters[name] for name in ("state", "upstream", "operation", "model", "q")):
        return NOTHING_MATCHES
    return NOTHING_AFTER if filters["cursor"] else NOTHING_STORED


def with_default_wait(arguments: list[str]) -> list[str]:
    """Add the seconds to a `--wait` without a value: Typer has no options with optional values."""
    complete = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        complete.append(argument)
        if argument == _OPTIONAL_VALUE and not following.replace(".", "", 1).isdigit():
            complete.append(str(DEFAULT_WAIT))
    return complete
