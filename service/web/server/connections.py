"""The bound on connections: a new one replaces the one whose client has kept us waiting longest."""

import asyncio
import resource
import time
from collections.abc import Collection
from typing import Any, Protocol

from service.logs import log
from service.web.server.limits import ConnectionLimits

_PAUSE = 60.0  # seconds between two lines in the log


class Connection(Protocol):
    """What has to be known of a connection."""

    transport: asyncio.Transport

    @property
    def awaited_since(self) -> float | None:
        """Since when we have waited for its client; None while it waits for us."""


class ConnectionLimiter:
    """Keeps connections few enough to leave file descriptors, and memory, to everything else."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._told_at = -_PAUSE

    def make(self, newcomer: Connection, connections: Collection[Any]) -> bool:
        """End another connection for a new one, if there are too many.

        Returns:
            Whether there is room; if not, every other connection waits for an answer of ours.
        """
        if len(connections) <= self._most():
            return True
        self._tell(len(connections))
        since = {other: other.awaited_since for other in connections if other is not newcomer}
        awaited = {other: began for other, began in since.items() if began is not None}
        if awaited:
            min(awaited, key=awaited.__getitem__).transport.abort()
        return bool(awaited)

    def _most(self) -> int:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files == resource.RLIM_INFINITY:
            return self._limits.connections
        spare = min(self._limits.spare_descriptors, files // 2)
        return min(self._limits.connections, files - spare)

    def _tell(self, count: int) -> None:
        if time.monotonic() - self._told_at < _PAUSE:
            return
        self._told_at = time.monotonic()
        log.warning(
            "connection_limit_reached",
            connections=count,
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            hint="the connection that idled longest is closed for each new one; "
            "see who connects, and raise the limit on open files (`ulimit -n`) if it is low",
        )
