"""Reads the environment of the process itself, apart from settings."""

import os

from service.config.settings import Settings

_FIRST_PASSED = 3  # the first descriptor of systemd's socket activation


def environment_for(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker, one of several processes on the same database.

    On SQLite workers have no cache: what one process stores, the next answer of another must show.
    """
    overrides = {} if settings.on_server else {"TRACKER_CACHE_SIZE": "0"}
    return {**os.environ, **overrides}


def inherited_socket() -> int | None:
    """Return the listening socket from systemd's socket activation; None without one."""
    for_us = os.environ.get("LISTEN_PID") == str(os.getpid())
    return _FIRST_PASSED if for_us and os.environ.get("LISTEN_FDS", "0") != "0" else None
