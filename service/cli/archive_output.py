"""Prints what is kept in the archive, and what is not."""

from collections.abc import Sequence
from typing import Any

import typer
from pydantic_core import to_json

from service.tracking.archive.keeping import Standing

_NOT_TRIED = "not tried yet"


def show_missing(found: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print the generations of which not all is kept, one a line."""
    for row in found:
        if as_json:
            typer.echo(to_json(row).decode())
            continue
        again = (
            "given up" if row["error"] and not row["next_at"] else row["error"] and "tried again"
        )
        reason = f"{row['error']} ({row['tries']} tries, {again})" if again else _NOT_TRIED
        typer.echo(f"{row['id']}  {reason}")


def show_standing(standing: Standing, *, as_json: bool) -> None:
    """Print how much is kept, and what is not yet."""
    if as_json:
        typer.echo(to_json(standing._asdict()).decode())
        return
    typer.echo(
        f"{standing.bytes} bytes are kept; {standing.waiting} generation(s) wait to be copied, "
        f"{standing.given_up} were given up."
    )
