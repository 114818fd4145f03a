"""The command group `webhooks`: where changes of state are sent, and the attempts to send."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.opening import load_settings, with_tracker
from service.cli.options import Json
from service.cli.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from service.tracking.tracker import Tracker

commands = typer.Typer(
    help="Send changes of state to other programs: list, add and remove endpoints.",
    epilog="Example: luma-tracker webhooks add https://hooks.example/luma --state completed",
    cls=SuggestingGroup,
    no_args_is_help=True,
)
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the endpoint.")]
_IdOrCreators = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Id of the endpoint; `creators`: callback URLs of generations."
    ),
]


@commands.command("list")
def list_(json: Json = False) -> None:
    """List the endpoints: id, whether it is enabled, states and URL, separated by tabs.

    Example:

      luma-tracker webhooks list --json
    """
    from service.cli.webhook_output import show_webhooks

    async def every(tracker: "Tracker") -> Any:
        return await tracker.webhooks.every()

    show_webhooks(with_tracker(load_settings(), every), as_json=json)


@commands.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to post messages.")],
    state: Annotated[
        list[str] | None, typer.Option(help="Only this state; repeatable. Default: all.")
    ] = None,
    generation: Annotated[
        str | None, typer.Option(help="Only the generation with this id.")
    ] = None,
    query: Annotated[str | None, typer.Option(help="Only generations with these words.")] = None,
    json: Json = False,
) -> None:
    """Add an endpoint. A running service sends to it from now on.

    Example:

      luma-tracker webhooks add https://hooks.example/luma --state completed --state failed
    """
    from service.cli.webhook_output import show_webhook
    from service.tracking.webhooks.endpoints import NewWebhook

    wanted = NewWebhook(url=url, states=state or None, generation_id=generation, q=query)

    async def add_it(tracker: "Tracker") -> Any:
        return await tracker.webhooks.add(wanted)

    show_webhook(with_tracker(load_settings(), add_it), as_json=json)


@commands.command()
def remove(webhook_id: _Id) -> None:
    """Remove an endpoint. What was not delivered to it yet is dropped.

    Example:

      luma-tracker webhooks remove 01a20377-e053-7be0-9c54-2f1f0d6b9a22
    """

    async def remove_it(tracker: "Tracker") -> None:
        await tracker.webhooks.remove(webhook_id)

    with_tracker(load_settings(), remove_it)
    typer.echo("removed", err=True)


@commands.command()
def attempts(
    webhook_id: _IdOrCreators,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Attempts on a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="From the previous page.")] = None,
    json: Json = False,
) -> None:
    """List the attempts to send to an endpoint, newest first.

    Prints id, time, generation, state, HTTP status and error, separated by tabs.

    Example:

      luma-tracker webhooks attempts creators --limit 10
    """
    from service.cli.webhook_output import show_attempts

    async def page(tracker: "Tracker") -> Any:
        return await tracker.webhooks.attempts(webhook_id, before=cursor, limit=limit + 1)

    show_attempts(with_tracker(load_settings(), page), limit, as_json=json)


@commands.command()
def replay(
    webhook_id: _IdOrCreators,
    attempt_id: Annotated[str, typer.Argument(metavar="ATTEMPT", help="Id of the attempt.")],
    json: Json = False,
) -> None:
    """Send the message of an attempt again, now. Exit code: 0 accepted, 1 not accepted.

    Example:

      luma-tracker webhooks replay creators 01a20377-e053-7be0-9c54-2f1f0d6b9a33
    """
    from service.cli.exits import FAILED
    from service.cli.webhook_output import show_attempt

    async def replay_it(tracker: "Tracker") -> Any:
        return await tracker.webhooks.replay(webhook_id, attempt_id)

    attempt = with_tracker(load_settings(), replay_it)
    show_attempt(attempt, as_json=json)
    if attempt.error:
        raise typer.Exit(FAILED)


@commands.command()
def secret(json: Json = False) -> None:
    """Print the secret that receivers verify signatures with; it is created if there is none.

    With several secrets, it is the first.

    Example:

      luma-tracker webhooks secret
    """
    from service.cli.output import show_value
    from service.config import webhook_secrets

    show_value("secret", webhook_secrets(load_settings())[0], as_json=json)
