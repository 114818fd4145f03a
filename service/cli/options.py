"""Arguments and options that several commands share, with their checks and their completion.

What is wrong without a look at the data is found here, so that the database and a running service
refuse it in the same words.
"""

from typing import Annotated

import typer

from service.cli.completion import (
    complete_ids,
    complete_models,
    complete_outcomes,
    complete_states,
    complete_upstreams,
)
from service.domain.generation import require_outcome, require_usable_id
from service.errors import InvalidInput

DEFAULT_WAIT = 600
"""Seconds."""
_UPSTREAMS = tuple(complete_upstreams(""))


def usable_id(given: str | None) -> str | None:
    """Refuse an id that no generation can have; for an option or argument."""
    if given is not None:
        require_usable_id(given)
    return given


def usable_ids(given: list[str] | None) -> list[str] | None:
    """Refuse ids that no generation can have; for an option or argument."""
    for each in given or ():
        require_usable_id(each)
    return given


def known_upstream(given: str | None) -> str | None:
    """Refuse an upstream that there is not; for an option."""
    if given not in (None, *_UPSTREAMS):
        raise InvalidInput("upstream", f"--upstream {given}: use {' or '.join(_UPSTREAMS)}.")
    return given


def _known_outcomes(given: list[str] | None) -> list[str] | None:
    for each in given or ():
        require_outcome(each)
    return given


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The generation's id, as Luma returned it.",
        autocompletion=complete_ids,
        callback=usable_id,
    ),
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID", help="Generation ids.", autocompletion=complete_ids, callback=usable_ids
    ),
]
Wait = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="[SECONDS]",
        help=f"Wait for a terminal state, {DEFAULT_WAIT} s unless you give a number.",
    ),
]
WaitAtMost = Annotated[
    float | None,
    typer.Option(
        "--wait",
        min=0,
        metavar="[SECONDS]",
        help=f"End after this time, {DEFAULT_WAIT} s unless you give a number. "
        "Without --wait there is no limit.",
    ),
]
States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        help="For example completed, failed or dreaming; repeatable.",
        autocompletion=complete_states,
    ),
]
Upstreams = Annotated[
    list[str] | None,
    typer.Option("--upstream", help="dream_machine or agents.", autocompletion=complete_upstreams),
]
Operations = Annotated[
    list[str] | None,
    typer.Option("--operation", help="For example video, image or upscale_video; repeatable."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="For example ray-2 or photon-1; repeatable.",
        autocompletion=complete_models,
    ),
]
Outcomes = Annotated[
    list[str] | None,
    typer.Option(
        "--outcome",
        help="applied, unchanged, stale or kept; repeatable.",
        autocompletion=complete_outcomes,
        callback=_known_outcomes,
    ),
]
Words = Annotated[
    str | None,
    typer.Option(
        "--query",
        "-q",
        "--q",
        help='Words, "phrases" and terms such as state:failed, is:open, after:-7d or cost:>0.5.',
    ),
]
Limit = Annotated[int, typer.Option(min=1, max=200, help="Most items to print.")]
Cursor = Annotated[
    str | None, typer.Option(help="Continue after an earlier page, which printed this cursor.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
