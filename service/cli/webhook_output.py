"""What the commands of `webhooks` print: plain lines, or JSON with `--json`."""

import typer

from service.cli.backend.contract import Json, Reply
from service.cli.output import row, show_next_page


def show_webhooks(reply: Reply, *, as_json: bool) -> None:
    """Print endpoints."""
    if as_json:
        typer.echo(reply.body)
        return
    for webhook in reply.items:
        typer.echo(_webhook(webhook))


def show_webhook(reply: Reply, *, as_json: bool) -> None:
    """Print one endpoint."""
    typer.echo(reply.body if as_json else _webhook(reply.document))


def show_attempts(page: Reply, *, as_json: bool) -> None:
    """Print a page of attempts."""
    if as_json:
        typer.echo(page.body)
        return
    for attempt in page.items:
        typer.echo(_attempt(attempt))
    show_next_page(page)


def show_attempt(reply: Reply, *, as_json: bool) -> None:
    """Print one attempt."""
    typer.echo(reply.body if as_json else _attempt(reply.document))


def _webhook(webhook: Json) -> str:
    states = ",".join(webhook["states"] or ["all"])
    enabled = "enabled" if webhook["enabled"] else "disabled"
    return row(webhook["id"], enabled, states, webhook["url"])


def _attempt(attempt: Json) -> str:
    at = f"{attempt['at'][:19]}Z"
    shown = (attempt[name] for name in ("generation_id", "state", "status", "error"))
    return row(attempt["id"], at, *shown)
