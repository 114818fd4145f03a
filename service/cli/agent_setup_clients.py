"""The MCP clients that `agent-setup` knows: their files, and what an entry looks like in each.

Locations and formats are those that each client documents for servers of the user, not of a
project: a token does not belong into a project's files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.config import ClientFolders

SERVER = "luma-tracker"
"""The name of our entry in every client."""
TOKEN = "TRACKER_TOKEN"  # noqa: S105 - the name of a variable
Json = dict[str, Any]


class ClientName(StrEnum):
    """The names of the clients on the command line."""

    CLAUDE_CODE = "claude-code"
    CLAUDE_DESKTOP = "claude-desktop"
    CURSOR = "cursor"
    VSCODE = "vscode"
    CODEX = "codex"
    GEMINI = "gemini"


class Transport(StrEnum):
    """How a client reaches the tracker."""

    HTTP = "http"
    STDIO = "stdio"


@dataclass(frozen=True, slots=True)
class Connection:
    """What a client needs to know; either `url` or `command` is set."""

    url: str = ""
    command: str = ""
    arguments: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables of the command."""
    secrets: dict[str, str] = field(default_factory=dict)
    """The same, but secret; with a URL, `TRACKER_TOKEN` alone."""


@dataclass(frozen=True, slots=True)
class Client:
    """An MCP client."""

    title: str
    path: Callable[["ClientFolders"], Path]
    section: str = "mcpServers"
    """The object of the file that contains the servers."""
    url_key: str = "url"
    """Empty: the file can only name commands."""
    typed: bool = True
    """Whether an entry names its transport as `type`."""
    reference: str = ""
    """How a value refers to an environment variable; empty: it cannot."""
    prompts: bool = False
    """Whether the client asks the user for secrets and keeps them, instead of a variable."""
    is_toml: bool = False

    @property
    def transports(self) -> tuple[Transport, ...]:
        """What its file can describe, the best first."""
        return (Transport.HTTP, Transport.STDIO) if self.url_key else (Transport.STDIO,)

    @property
    def keeps_secrets(self) -> bool:
        """Whether a secret stands in the file itself."""
        return not (self.reference or self.is_toml)

    def entry(self, connection: Connection, secret: Callable[[str], str]) -> Json:
        """Return the entry of the tracker.

        Args:
            connection: how it is reached.
            secret: returns what the file says in place of the secret of a variable.
        """
        if self.is_toml:
            return _codex_entry(connection)
        said = {name: secret(name) for name in connection.secrets}
        if connection.url:
            kind = {"type": "http"} if self.typed else {}
            headers = {"headers": {"Authorization": f"Bearer {said[TOKEN]}"}} if said else {}
            return {**kind, self.url_key: connection.url, **headers}
        kind = {"type": "stdio"} if self.typed else {}
        environment = {**connection.variables, **said}
        command = {"command": connection.command, "args": connection.arguments}
        return {**kind, **command, **({"env": environment} if environment else {})}

    def refer(self, variable: str) -> str:
        """Return the reference to a variable."""
        return self.reference.format(input_id(variable) if self.prompts else variable)

    def inputs(self, connection: Connection) -> list[Json]:
        """Return the questions that VS Code asks before it starts the server."""
        return [
            {
                "type": "promptString",
                "id": input_id(name),
                "description": f"Luma tracker: {name}",
                "password": True,
            }
            for name in (connection.secrets if self.prompts else {})
        ]


def input_id(variable: str) -> str:
    """Return the id of the question for a variable."""
    return f"{SERVER}-{variable.removeprefix('TRACKER_').lower().replace('_', '-')}"


def _codex_entry(connection: Connection) -> Json:
    if connection.url:
        token = {"bearer_token_env_var": TOKEN} if connection.secrets else {}
        return {"url": connection.url, **token}
    entry: Json = {"command": connection.command, "args": connection.arguments}
    if connection.secrets:
        entry["env_vars"] = list(connection.secrets)  # passed on from Codex's own environment
    if connection.variables:
        entry["env"] = connection.variables
    return entry


CLIENTS = {
    ClientName.CLAUDE_CODE: Client("Claude Code", lambda at: at.claude / ".claude.json"),
    ClientName.CLAUDE_DESKTOP: Client(
        "Claude Desktop",
        lambda at: at.application_data / "Claude" / "claude_desktop_config.json",
        url_key="",
        typed=False,
    ),
    ClientName.CURSOR: Client(
        "Cursor",
        lambda at: at.home / ".cursor" / "mcp.json",
        typed=False,
        reference="${{env:{}}}",
    ),
    ClientName.VSCODE: Client(
        "VS Code",
        lambda at: at.application_data / "Code" / "User" / "mcp.json",
        section="servers",
        reference="${{input:{}}}",
        prompts=True,
    ),
    ClientName.CODEX: Client(
        "Codex", lambda at: at.codex / "config.toml", section="mcp_servers", is_toml=True
    ),
    ClientName.GEMINI: Client(
        "Gemini CLI",
        lambda at: at.home / ".gemini" / "settings.json",
        url_key="httpUrl",
        typed=False,
        reference="${{{}}}",
    ),
}
