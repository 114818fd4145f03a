"""Logs slow requests. Other requests are not logged."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.domain.redaction import without_tokens
from service.logs import log

WAIT_SECONDS = "service.wait_seconds"
"""Key in the scope: for how many seconds the client asked to wait; not counted as slow."""


class SlowLog:
    """Middleware that logs every request whose response starts late.

    Args:
        after: seconds, in addition to those for which the client asked to wait.
    """

    def __init__(self, app: ASGIApp, *, after: float) -> None:
        self._app = app
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and measure the time until its response starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()

        async def measured(message: Message) -> None:
            if "status" in message:
                log_if_slow(scope, message["status"], time.monotonic() - started, self._after)
            await send(message)

        await self._app(scope, receive, measured)


def log_if_slow(scope: Scope, status: int, seconds: float, after: float) -> None:
    """Log the request if it took more than `after` seconds."""
    if seconds <= after + scope.get(WAIT_SECONDS, 0):
        return
    path = without_tokens(scope["path"])
    log.warning(
        "slow_request", method=scope["method"], path=path, status=status, seconds=round(seconds, 3)
    )
