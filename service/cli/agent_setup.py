"""The command that connects MCP clients: `agent-setup`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.agent_setup_clients import CLIENTS, TOKEN, ClientName, Transport
from service.cli.opening import load_settings
from service.cli.options import Json
from service.errors import InvalidInput

if TYPE_CHECKING:
    from service.cli.agent_setup_step import Step

commands = typer.Typer()


@commands.command("agent-setup")
def agent_setup(
    client: Annotated[
        ClientName | None, typer.Argument(help="The client to connect. Default: all, to read.")
    ] = None,
    transport: Annotated[
        Transport | None, typer.Option(help="How the client reaches the tracker.")
    ] = None,
    url: Annotated[
        str,
        typer.Option(envvar="TRACKER_URL", help="URL of the service; default: this machine's."),
    ] = "",
    token: Annotated[
        str,
        typer.Option(envvar=TOKEN, help="Token of the service; default: from TRACKER_API_TOKENS."),
    ] = "",
    write: Annotated[
        bool, typer.Option("--write", "--yes", "-y", help="Write without asking.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the tracker from the client.")
    ] = False,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Print tokens and keys too.")
    ] = False,
    json: Json = False,
) -> None:
    """Connect an MCP client: print what to put where, and write it if you agree.

    A file keeps everything else that is in it, and a backup is left beside it.

    Example:

      luma-tracker agent-setup cursor
    """
    if client is None and (write or remove):
        raise InvalidInput("client", "--write and --remove change one client.", "Name it.")
    steps = _steps(client, transport, url, token)
    may_ask = sys.stdin.isatty() and sys.stdout.isatty() and not json
    if client is None or not (write or may_ask):
        _show(steps, remove=remove, show_secrets=show_secrets, as_json=json)
        return
    [step] = steps
    if not json:
        _describe(step, remove=remove, show_secrets=show_secrets)
    _carry_out(step, ask=not write, remove=remove, show_secrets=show_secrets, as_json=json)


def _steps(
    client: ClientName | None, transport: Transport | None, url: str, token: str
) -> "list[Step]":
    from service.cli.agent_setup_step import Step

    settings = load_settings()
    names = [client] if client else list(CLIENTS)
    if client and transport and transport not in CLIENTS[client].transports:
        raise InvalidInput(
            "transport",
            f"--transport {transport}: the file of {CLIENTS[client].title} can only name commands.",
            "Use --transport stdio, or add the URL in its settings, under Connectors.",
        )
    usable = {name: transport if transport in CLIENTS[name].transports else None for name in names}
    return [Step(name, settings, usable[name], url, token) for name in names]


def _show(steps: "list[Step]", *, remove: bool, show_secrets: bool, as_json: bool) -> None:
    if as_json:
        from json import dumps

        typer.echo(dumps([step.as_dict(show_secrets=show_secrets) for step in steps]))
        return
    for index, step in enumerate(steps):
        if index:
            typer.echo()
        _describe(step, remove=remove, show_secrets=show_secrets)


def _describe(step: "Step", *, remove: bool, show_secrets: bool) -> None:
    """Print what is to be put where; what to do besides goes to stderr."""
    if remove:
        typer.echo(f"{step.client.title}: remove {step.location} from {step.path}")
        return
    typer.echo(f"{step.client.title}: add to {step.path}")
    typer.echo(step.text(with_secrets=show_secrets))
    for hint in step.hints(with_secrets=show_secrets):
        typer.echo(hint, err=True)


def _carry_out(step: "Step", *, ask: bool, remove: bool, show_secrets: bool, as_json: bool) -> None:
    """Change the file, after asking if `ask`, and report it."""
    from json import dumps

    from service.cli.agent_setup_files import store

    change = step.change(remove=remove)
    backup = None
    if change.is_needed:
        if ask and not typer.confirm(f"Change {step.path}?"):
            raise typer.Abort
        backup = store(change, private=step.keeps_secrets and not remove)
    if as_json:
        done = {"changed": change.is_needed, "backup": backup and str(backup)}
        typer.echo(dumps([{**step.as_dict(show_secrets=show_secrets), **done}]))
    elif not change.is_needed:
        typer.echo(f"{step.path}: nothing to change", err=True)
    else:
        saved = f"; the previous content is in {backup}" if backup else ""
        typer.echo(f"{step.path}: changed{saved}. Restart {step.client.title}.", err=True)
