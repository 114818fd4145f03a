"""What the commands of `webhooks` print: plain lines, or JSON with `--json`."""

from collections.abc import Sequence

import typer

from service.domain.text import one_line
from service.storage.attempts import Attempt
from service.storage.webhooks import Webhook
from service.tracking.webhooks.schemas import AttemptOut, AttemptsOut, WebhookOut, WebhooksOut


def show_webhooks(webhooks: Sequence[Webhook], *, as_json: bool) -> None:
    """Print endpoints."""
    if as_json:
        typer.echo(WebhooksOut.of(list(webhooks)).model_dump_json())
        return
    for webhook in webhooks:
        show_webhook(webhook, as_json=False)


def show_webhook(webhook: Webhook, *, as_json: bool) -> None:
    """Print one endpoint."""
    if as_json:
        typer.echo(WebhookOut.model_validate(webhook).model_dump_json())
        return
    states = ",".join(webhook.states or ["all"])
    enabled = "enabled" if webhook.enabled else "disabled"
    typer.echo(_row(webhook.id, enabled, states, webhook.url))


def show_attempts(attempts: list[Attempt], limit: int, *, as_json: bool) -> None:
    """Print a page of attempts.

    Args:
        attempts: up to `limit` + 1 attempts; the extra one shows that more follow.
        limit: the maximum number of attempts on the page.
    """
    page = AttemptsOut.of(attempts, limit)
    if as_json:
        typer.echo(page.model_dump_json())
        return
    for attempt in attempts[:limit]:
        show_attempt(attempt, as_json=False)
    if page.next_cursor:
        typer.echo(f"More: --cursor {page.next_cursor}", err=True)


def show_attempt(attempt: Attempt, *, as_json: bool) -> None:
    """Print one attempt."""
    shown = AttemptOut.of(attempt)
    if as_json:
        typer.echo(shown.model_dump_json())
        return
    at = f"{shown.at:%Y-%m-%dT%H:%M:%SZ}"
    status = str(shown.status or "-")
    typer.echo(
        _row(*(shown.id, at, shown.generation_id or "-", shown.state, status, shown.error or "-"))
    )


def _row(*cells: str) -> str:
    """Return cells separated by tabs; none of them can start a new line."""
    return "\t".join(one_line(cell) for cell in cells)
