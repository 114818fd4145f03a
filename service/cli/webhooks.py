"""The command group `webhooks`: where changes of state are sent, and the attempts to send."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.completion import complete_states
from service.cli.exits import FAILED
from service.cli.opening import on_this_machine, with_backend
from service.cli.options import Cursor, Json, Limit, Words, usable_id
from service.cli.suggestions import SuggestingGroup
from service.domain.generation import KNOWN_STATES, require_known_state

if TYPE_CHECKING:
    from service.cli.backend.contract import Reply

commands = typer.Typer(
    help="Send changes of state to other programs: list, add and remove endpoints.",
    epilog="Example: luma-tracker webhooks add https://hooks.example/luma --state completed",
    cls=SuggestingGroup,
    no_args_is_help=True,
)


def _known_states(given: list[str] | None) -> list[str] | None:
    for state in given or ():
        require_known_state(state)
    return given


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

    show_webhooks(with_backend(lambda backend: backend.webhooks()), as_json=json)


@commands.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to post messages.")],
    state: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{', '.join(KNOWN_STATES[:-1])} or {KNOWN_STATES[-1]}; repeatable.",
            autocompletion=complete_states,
            callback=_known_states,
        ),
    ] = None,
    generation: Annotated[
        str | None, typer.Option(help="Only the generation with this id.", callback=usable_id)
    ] = None,
    query: Words = None,
    json: Json = False,
) -> None:
    """Add an endpoint. A running service sends to it from now on.

    Example:

      luma-tracker webhooks add https://hooks.example/luma --state completed --state failed
    """
    from service.cli.webhook_output import show_webhook

    wanted = {"url": url, "states": state or None, "generation_id": generation, "q": query}
    show_webhook(with_backend(lambda backend: backend.add_webhook(wanted)), as_json=json)


@commands.command()
def remove(webhook_id: _Id) -> None:
    """Remove an endpoint. What was not delivered to it yet is dropped.

    Example:

      luma-tracker webhooks remove 01a20377-e053-7be0-9c54-2f1f0d6b9a22
    """
    with_backend(lambda backend: backend.remove_webhook(webhook_id))
    typer.echo("removed", err=True)


@commands.command("test")
def send_test(webhook_id: _Id, json: Json = False) -> None:
    """Send a test message to an endpoint, now. Exit code: 0 accepted, 1 not accepted.

    Example:

      luma-tracker webhooks test 01a20377-e053-7be0-9c54-2f1f0d6b9a22
    """
    _show_sent(with_backend(lambda backend: backend.test_webhook(webhook_id)), as_json=json)


@commands.command()
def attempts(
    webhook_id: _IdOrCreators,
    limit: Limit = 50,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List the attempts to send to an endpoint, newest first.

    Prints id, time, generation, state, HTTP status and error, separated by tabs.

    Example:

      luma-tracker webhooks attempts creators --limit 10
    """
    from service.cli.webhook_output import show_attempts

    filters = {"limit": limit, "cursor": cursor}
    page = with_backend(lambda backend: backend.attempts(webhook_id, filters))
    show_attempts(page, as_json=json)


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
    reply = with_backend(lambda backend: backend.replay_attempt(webhook_id, attempt_id))
    _show_sent(reply, as_json=json)


def _show_sent(attempt: "Reply", *, as_json: bool) -> None:
    from service.cli.webhook_output import show_attempt

    show_attempt(attempt, as_json=as_json)
    if attempt.document["error"]:
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

    show_value("secret", webhook_secrets(on_this_machine("the secret"))[0], as_json=json)
