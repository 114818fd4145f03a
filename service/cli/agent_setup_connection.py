"""How an MCP client reaches the tracker: the URL and token, or the command and its variables."""

import sys
import sysconfig
from pathlib import Path

from service.cli.agent_setup_clients import SERVER, TOKEN, Connection
from service.cli.opening import service_url
from service.config import Settings

_PASSED_ON = {
    "dream_machine_url": "TRACKER_DREAM_MACHINE_URL",
    "agents_url": "TRACKER_AGENTS_URL",
    "public_url": "TRACKER_PUBLIC_URL",
    "mcp_read_only": "TRACKER_MCP_READ_ONLY",
}
"""Settings that `luma-tracker mcp` needs too, and their variables."""


def to_service(settings: Settings, url: str, token: str) -> Connection:
    """Return how a client reaches a running service.

    Args:
        settings: of this machine; they apply where nothing else is given.
        url: of the service.
        token: one that the service accepts.
    """
    base = (url or service_url(settings)).rstrip("/").removesuffix("/mcp")
    secret = token or _token(settings, is_own=not (url or settings.url))
    return Connection(url=f"{base}/mcp", secrets={TOKEN: secret} if secret else {})


def _token(settings: Settings, *, is_own: bool) -> str:
    """Return the token for the service of this machine, or for another."""
    if is_own:
        return _first_token(settings)
    return settings.token.get_secret_value() if settings.token else ""


def _first_token(settings: Settings) -> str:
    """Return a token that may write if there is one."""
    tokens = [token.get_secret_value() for token in settings.api_tokens]
    chosen = next((each for each in tokens if not each.startswith("ro:")), "")
    return chosen or "".join(tokens[:1]).removeprefix("ro:")


def to_command(settings: Settings) -> Connection:
    """Return how a client starts `luma-tracker mcp`, on the same database and accounts."""
    script = Path(sysconfig.get_path("scripts")) / SERVER
    script = script.with_suffix(".exe") if sys.platform == "win32" else script
    installed = script.exists()
    return Connection(
        command=str(script) if installed else sys.executable,
        arguments=["mcp"] if installed else ["-m", "service", "mcp"],
        variables=_variables(settings),
        secrets=_secrets(settings),
    )


def _variables(settings: Settings) -> dict[str, str]:
    given = settings.model_fields_set
    found = {
        variable: str(getattr(settings, field))
        for field, variable in _PASSED_ON.items()
        if field in given and getattr(settings, field) is not None
    }
    if "database_url" in given and not settings.on_server:
        found["TRACKER_DATABASE_URL"] = f"sqlite:///{settings.database_path.resolve()}"
    return found


def _secrets(settings: Settings) -> dict[str, str]:
    keys = {
        "LUMAAI_API_KEY": settings.luma_api_key,
        "LUMA_AGENTS_API_KEY": settings.luma_agents_api_key,
    }
    found = {name: key.get_secret_value() for name, key in keys.items() if key}
    if settings.on_server:  # its URL may contain a password
        found["TRACKER_DATABASE_URL"] = settings.database_url
    if settings.callback_secret:
        values = [secret.get_secret_value() for secret in settings.callback_secret]
        found["TRACKER_CALLBACK_SECRET"] = ",".join(values)
    return found
