"""The command that connects MCP clients: `agent-setup`."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.agent_setup_clients import CLIENTS, TOKEN, ClientName, Transport
from service.cli.opening import load_settings
from service.cli.option_sets import takes
from service.cli.options import Json
from service.errors import InvalidInput

if TYPE_CHECKING:
    from service.cli.agent_setup_step import Step

commands = typer.Typer()


@dataclass(frozen=True, slots=True)
class Connecting:
    """Which client to connect, and how."""

    client: Annotated[
        ClientName | None, typer.Argument(help="The client to connect. Default: all, to read.")
    ] = None
    transport: Annotated[
        Transport | None, typer.Option(help="How the client reaches the tracker.")
    ] = None
    url: Annotated[
        str,
        typer.Option(envvar="TRACKER_URL", help="URL of the service; default: this machine's."),
    ] = ""
    token: Annotated[
        str,
        typer.Option(envvar=TOKEN, help="Token of the service; default: from TRACKER_API_TOKENS."),
    ] = ""
    write: Annotated[bool, typer.Option("--write", "--yes", "-y", help="Write without asking.")] = (
        False
    )
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the tracker from the client.")
    ] = False
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Print tokens and keys too.")
    ] = False

    def __post_init__(self) -> None:
        if self.client is None and (self.write or self.remove):
            raise InvalidInput("client", "--write and --remove change one client.", "Name it.")


@commands.command("agent-setup")
@takes(Connecting)
def agent_setup(chosen: Connecting, json: Json = False) -> None:
    """Connect an MCP client: print what to put where, and write it if you agree.

    A file keeps everything else that is in it, and a backup is left beside it.

    Example:

      luma-tracker agent-setup cursor
    """
    steps = _steps(chosen)
    may_ask = sys.stdin.isatty() and sys.stdout.isatty() and not json
    if chosen.client is None or not (chosen.write or may_ask):
        _show(steps, chosen, as_json=json)
        return
    [step] = steps
    if not json:
        _describe(step, chosen)
    _carry_out(step, chosen, as_json=json)


def _steps(chosen: Connecting) -> "list[Step]":
    from service.cli.agent_setup_step import Step

    settings, client, transport = load_settings(), chosen.client, chosen.transport
    names = [client] if client else list(CLIENTS)
    if client and transport and transport not in CLIENTS[client].transports:
        raise InvalidInput(
            "transport",
            f"--transport {transport}: the file of {CLIENTS[client].title} can only name commands.",
            "Use --transport stdio, or add the URL in its settings, under Connectors.",
        )
    usable = {name: transport if transport in CLIENTS[name].transports else None for name in names}
    return [Step(name, settings, usable[name], chosen.url, chosen.token) for name in names]


def _show(steps: "list[Step]", chosen: Connecting, *, as_json: bool) -> None:
    if as_json:
        from json import dumps

        typer.echo(dumps([step.as_dict(show_secrets=chosen.show_secrets) for step in steps]))
        return
    for index, step in enumerate(steps):
        if index:
            typer.echo()
        _describe(step, chosen)


def _describe(step: "Step", chosen: Connecting) -> None:
    """Print what is to be put where; what to do besides goes to stderr."""
    if chosen.remove:
        typer.echo(f"{step.client.title}: remove {step.location} from {step.path}")
        return
    typer.echo(f"{step.client.title}: add to {step.path}")
    typer.echo(step.text(with_secrets=chosen.show_secrets))
    for hint in step.hints(with_secrets=chosen.show_secrets):
        typer.echo(hint, err=True)


def _carry_out(step: "Step", chosen: Connecting, *, as_json: bool) -> None:
    """Change the file, after asking unless that is not wanted, and report it."""
    from json import dumps

    from service.cli.agent_setup_files import store

    change = step.change(remove=chosen.remove)
    backup = None
    if change.is_needed:
        if not chosen.write and not typer.confirm(f"Change {step.path}?"):
            raise typer.Abort
        backup = store(change, private=step.keeps_secrets and not chosen.remove)
    if as_json:
        done = {"changed": change.is_needed, "backup": backup and str(backup)}
        typer.echo(dumps([{**step.as_dict(show_secrets=chosen.show_secrets), **done}]))
    elif not change.is_needed:
        typer.echo(f"{step.path}: nothing to change", err=True)
    else:
        saved = f"; the previous content is in {backup}" if backup else ""
        typer.echo(f"{step.path}: changed{saved}. Restart {step.client.title}.", err=True)
