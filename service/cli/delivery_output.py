"""What the commands on the inbox print: plain lines, or JSON with `--json`."""

import json
from collections.abc import Sequence

import typer

from service.cli.backend.contract import Json, Reply
from service.cli.output import row, show_hint, show_next_page

NOTHING = (
    "No deliveries match. A delivery is a callback that Luma sent: `luma-tracker callback-test` "
    "checks that callbacks reach this tracker."
)


def show_deliveries(page: Reply, *, as_json: bool) -> None:
    """Print a page of the inbox."""
    if as_json:
        typer.echo(page.body)
        return
    for delivery in page.items:
        typer.echo(_delivery(delivery))
    if not page.items:
        show_hint(NOTHING)
    show_next_page(page)


def show_delivery(reply: Reply, *, as_json: bool) -> None:
    """Print one delivery, and its body as Luma sent it."""
    if as_json:
        typer.echo(reply.body)
        return
    delivery = reply.document
    typer.echo(_delivery(delivery))
    body = delivery["body"]
    typer.echo(json.dumps(body, indent=2))


def show_replays(replays: Sequence[Json], *, as_json: bool) -> None:
    """Print the outcome of each replayed delivery."""
    if as_json:
        typer.echo(json.dumps(replays))
        return
    for replay in replays:
        typer.echo(
            f"{replay['delivery_id']}\t{replay['outcome']}\t{replay['error'] or ''}".rstrip()
        )
    typer.echo(f"{len(replays)} replayed", err=True)


def _delivery(delivery: Json) -> str:
    at = f"{delivery['received_at'][:19]}Z"
    names = ("outcome", "generation_id", "duplicates", "error")
    return row(delivery["id"], at, *(delivery[name] for name in names))
