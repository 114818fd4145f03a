"""The commands that read generations: `get` and `list`."""

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Annotated

import typer

from service.cli.exits import exit_by_outcome
from service.cli.opening import with_backend
from service.cli.option_sets import takes
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
from service.cli.suggestions import nearest
from service.domain.generation import KNOWN_STATES

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
    from service.cli.status import status

    with nullcontext() if wait is None else status(f"Waiting for {generation_id}"):
        reply = with_backend(
            lambda backend: backend.generation(generation_id, fresh=fresh, wait=wait)
        )
    show_generation(reply, as_json=json)
    if wait is not None:
        exit_by_outcome(reply)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which generations to list."""

    state: States = None
    upstream: Upstreams = None
    operation: Operations = None
    model: Models = None
    q: Words = None
    limit: Limit = 20
    cursor: Cursor = None

    @property
    def empty_hint(self) -> str:
        """What to do if the page is empty."""
        for state in self.state or ():
            if state not in KNOWN_STATES and (near := nearest(state, KNOWN_STATES)):
                return f"No generation is in the state {state}. Did you mean `--state {near}`?"
        if self.state or self.upstream or self.operation or self.model or self.q:
            return NOTHING_MATCHES
        return NOTHING_AFTER if self.cursor else NOTHING_STORED


@commands.command("list")
@takes(Chosen)
def list_(chosen: Chosen, json: Json = False) -> None:
    """List stored generations, newest first; sends no request to Luma.

    You can repeat --state, --upstream, --operation and --model: a generation
    matches if it has any of the values.

    Example:

      luma-tracker list --query 'lake is:open took:>60s'
    """
    from service.cli.output import show_page

    page = with_backend(lambda backend: backend.generations(asdict(chosen)))
    show_page(page, as_json=json, empty_hint=chosen.empty_hint)


def with_default_wait(arguments: list[str]) -> list[str]:
    """Add the seconds to a `--wait` without a value: Typer has no options with optional values."""
    complete = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        complete.append(argument)
        if argument == _OPTIONAL_VALUE and not following.replace(".", "", 1).isdigit():
            complete.append(str(DEFAULT_WAIT))
    return complete
