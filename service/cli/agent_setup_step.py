"""What `agent-setup` does for one client: the entry, its text, and the change of the file."""

import json
from pathlib import Path
from typing import Any

from service.cli.agent_setup_clients import CLIENTS, SERVER, Client, ClientName, Transport
from service.cli.agent_setup_connection import to_command, to_service
from service.cli.agent_setup_files import Change, with_entry, without_entry
from service.cli.agent_setup_toml import render
from service.config import Settings, client_folders


class Step:
    """What is to be done for one client."""

    def __init__(
        self,
        name: ClientName,
        settings: Settings,
        transport: Transport | None,
        url: str,
        token: str,
    ) -> None:
        self.name = name
        self.client: Client = CLIENTS[name]
        self.path = self.client.path(client_folders(Path.home()))
        self.transport = transport or self.client.transports[0]
        self.connection = (
            to_service(settings, url, token)
            if self.transport is Transport.HTTP
            else to_command(settings)
        )

    @property
    def keeps_secrets(self) -> bool:
        """Whether a secret stands in the file."""
        return self.client.keeps_secrets and bool(self.connection.secrets)

    def entry(self, *, with_secrets: bool) -> dict[str, Any]:
        """Return the entry; without secrets, their places have the names of their variables."""

        def secret(variable: str) -> str:
            if not self.client.keeps_secrets:
                return self.client.refer(variable)
            return self.connection.secrets[variable] if with_secrets else f"<{variable}>"

        return self.client.entry(self.connection, secret)

    def text(self, *, with_secrets: bool) -> str:
        """Return what the file must contain."""
        entry = self.entry(with_secrets=with_secrets)
        if self.client.is_toml:
            return render(self.client.section, SERVER, entry).rstrip()
        inputs = self.client.inputs(self.connection)
        document = {self.client.section: {SERVER: entry}, **({"inputs": inputs} if inputs else {})}
        return json.dumps(document, indent=2, ensure_ascii=False)

    @property
    def location(self) -> str:
        """Return where the entry stands in the file."""
        return f"{self.client.section}.{SERVER}"

    def hints(self, *, with_secrets: bool) -> list[str]:
        """Return what to do besides changing the file."""
        title, found = self.client.title, []
        if self.variables:
            found.append(f"Set {' and '.join(self.variables)} in the environment of {title}.")
        if self.client.prompts and self.connection.secrets:
            found.append(f"{title} asks for {' and '.join(self.connection.secrets)} and keeps it.")
        if self.keeps_secrets and not with_secrets:
            found.append("Replace <…> by the secret; --write and --show-secrets do.")
        return found

    @property
    def variables(self) -> list[str]:
        """Return the variables that must be set where the client starts."""
        from_client = not self.client.keeps_secrets and not self.client.prompts
        return list(self.connection.secrets) if from_client else []

    def change(self, *, remove: bool) -> Change:
        """Return the change of the file.

        Raises:
            TrackerError: it cannot be read, or cannot be edited safely.
        """
        if remove:
            return without_entry(self.client, self.path)
        inputs = self.client.inputs(self.connection)
        return with_entry(self.client, self.path, self.entry(with_secrets=True), inputs)

    def as_dict(self, *, show_secrets: bool) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "client": self.name.value,
            "path": str(self.path),
            "transport": self.transport.value,
            "section": self.client.section,
            "name": SERVER,
            "entry": self.entry(with_secrets=show_secrets),
            "inputs": self.client.inputs(self.connection),
            "variables": self.variables,
        }
