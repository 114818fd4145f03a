"""A log of requests that took long; there is none of the others."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.domain.redaction import without_tokens
from service.logs import log

ASKED_TO_WAIT = "service.asked_to_wait"
"""In the scope: the seconds for which the caller wants us to wait."""


class SlowLog:
    """Notes every request whose answer begins late.

    Args:
        after: seconds; those for which the caller asked us to wait are not counted.
    """

    def __init__(self, app: ASGIApp, *, after: float) -> None:
        self._app = app
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and look at the clock when the answer begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()

        async def timed(message: Message) -> None:
            if "status" in message:
                note_slow(scope, message["status"], time.monotonic() - began, self._after)
            await send(message)

        await self._app(scope, receive, timed)


def note_slow(scope: Scope, status: int, seconds: float, after: float) -> None:
    """Note it, if it took longer than `after`."""
    if seconds <= after + scope.get(ASKED_TO_WAIT, 0):
        return
    path = without_tokens(scope["path"])
    log.warning(
        "slow_request", method=scope["method"], path=path, status=status, seconds=round(seconds, 3)
    )
