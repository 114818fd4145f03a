"""Limits the number of connections. Above it, a new connection replaces an idle one."""

import asyncio
import resource
import time
from collections.abc import Collection
from typing import Any, Protocol

from service.logs import log
from service.web.server.limits import ConnectionLimits

_LOG_INTERVAL = 60.0  # seconds between two warnings


class Connection(Protocol):
    """The part of a connection that the limiter uses."""

    transport: asyncio.Transport

    @property
    def idle_since(self) -> float | None:
        """Since when the server has waited for the client; None while the client waits."""


class ConnectionLimiter:
    """Limits the connections of a process, so that file descriptors and memory remain available."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._logged_at = -_LOG_INTERVAL

    def admit(self, new: Connection, connections: Collection[Any]) -> bool:
        """Admit a new connection. If there are too many, close the one that is idle longest.

        Args:
            new: the new connection.
            connections: all connections, the new one included.

        Returns:
            False if there are too many and the client of every other one waits for a response.
        """
        if len(connections) <= self._maximum():
            return True
        self._log(len(connections))
        since = {other: other.idle_since for other in connections if other is not new}
        idle = {other: started for other, started in since.items() if started is not None}
        if idle:
            min(idle, key=idle.__getitem__).transport.abort()
        return bool(idle)

    def _maximum(self) -> int:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files == resource.RLIM_INFINITY:
            return self._limits.connections
        spare = min(self._limits.spare_descriptors, files // 2)
        return min(self._limits.connections, files - spare)

    def _log(self, count: int) -> None:
        if time.monotonic() - self._logged_at < _LOG_INTERVAL:
            return
        self._logged_at = time.monotonic()
        log.warning(
            "connection_limit_reached",
            connections=count,
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            hint="each new connection closes the one that is idle longest; "
            "check who connects, and raise the limit on open files (`ulimit -n`) if it is low",
        )
