"""What `create` prints."""

import json
import sys

import typer

from service.cli.backend.contract import Order, Reply
from service.cli.output import show_generation


def show_order(order: Order) -> None:
    """Print what would be sent, as JSON."""
    body = json.loads(order.body)
    typer.echo(json.dumps({"upstream": order.upstream, "path": order.path, "body": body}, indent=2))


def show_id(generation_id: str, *, is_repeated: bool, is_awaited: bool) -> None:
    """Say on stderr what was created, before anything else can go wrong."""
    if is_repeated:
        typer.echo("This key was used before: nothing was bought again.", err=True)
    if is_awaited or sys.stdout.isatty():
        typer.echo(f"Created {generation_id}", err=True)


def show_created(reply: Reply, *, finished: bool, as_json: bool) -> None:
    """Print the generation: as `get` does if it was waited for, else only its id.

    What to do next goes to stderr.
    """
    generation = reply.document
    if as_json or finished:
        show_generation(reply, as_json=as_json)
    else:
        typer.echo(generation["id"])
    if not generation["terminal"]:
        typer.echo(f"Next: luma-tracker watch {generation['id']}", err=True)
