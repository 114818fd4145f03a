"""Arguments and options that several commands share, and their completion in shells."""

from typing import Annotated

import typer

from service.cli.completion import (
    complete_ids,
    complete_models,
    complete_outcomes,
    complete_states,
    complete_upstreams,
)

DEFAULT_WAIT = 600
"""Seconds."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The generation's id, as Luma returned it.",
        autocompletion=complete_ids,
    ),
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Generation ids.", autocompletion=complete_ids),
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
