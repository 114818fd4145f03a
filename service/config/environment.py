"""Reads the environment of the process itself, apart from settings."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from service.config.settings import Settings

_FIRST_PASSED = 3  # the first descriptor of systemd's socket activation


def environment_for(settings: Settings, workers: int) -> dict[str, str]:
    """Return the environment of each worker.

    Several on SQLite have no cache: what one process stores, the next answer of another must show.
    """
    cached = settings.on_server or workers == 1
    overrides = {} if cached else {"TRACKER_CACHE_SIZE": "0"}
    return {**os.environ, **overrides}


def environment_of_tunnel() -> dict[str, str]:
    """Return the environment for cloudflared: without our secrets, or settings of other tunnels."""
    without = ("TRACKER_", "LUMA", "TUNNEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}


def inherited_socket() -> int | None:
    """Return the listening socket from systemd's socket activation; None without one."""
    for_us = os.environ.get("LISTEN_PID") == str(os.getpid())
    return _FIRST_PASSED if for_us and os.environ.get("LISTEN_FDS", "0") != "0" else None


class ClientFolders(NamedTuple):
    """Where the user's programs keep their configuration."""

    home: Path
    application_data: Path
    """Where desktop programs keep theirs."""
    claude: Path
    """Where Claude Code keeps `.claude.json`."""
    codex: Path
    """Where Codex keeps `config.toml`."""


def client_folders(
    home: Path, system: str = sys.platform, environment: Mapping[str, str] = os.environ
) -> ClientFolders:
    """Return the folders of a user.

    Args:
        home: the user's home.
        system: as `sys.platform` names it.
        environment: variables that move a folder.
    """
    return ClientFolders(
        home=home,
        application_data=_application_data(home, system, environment),
        claude=Path(environment.get("CLAUDE_CONFIG_DIR") or home),
        codex=Path(environment.get("CODEX_HOME") or home / ".codex"),
    )


def _application_data(home: Path, system: str, environment: Mapping[str, str]) -> Path:
    if system == "darwin":
        return home / "Library" / "Application Support"
    if system == "win32":
        return Path(environment.get("APPDATA") or home / "AppData" / "Roaming")
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
