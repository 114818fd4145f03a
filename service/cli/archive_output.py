"""Prints what is kept in the archive, and what is not."""

from collections.abc import Sequence
from typing import Any

import typer
from pydantic_core import to_json

from service.cli.output import row
from service.tracking.archive.keeping import Standing

_NOT_TRIED = "not tried yet"


def show_missing(found: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print the generations of which not all is kept, one a line."""
    for each in found:
        if as_json:
            typer.echo(to_json(each).decode())
            continue
        again = (
            "given up" if each["error"] and not each["next_at"] else each["error"] and "tried again"
        )
        reason = f"{each['error']} ({each['tries']} tries, {again})" if again else _NOT_TRIED
        typer.echo(row(each["id"], reason))


def show_standing(standing: Standing, *, as_json: bool) -> None:
    """Print how much is kept, and what is not yet."""
    if as_json:
        typer.echo(to_json(standing._asdict()).decode())
        return
    typer.echo(
        f"{standing.bytes} bytes are kept; {standing.waiting} generation(s) wait to be copied, "
        f"{standing.given_up} were given up."
    )
