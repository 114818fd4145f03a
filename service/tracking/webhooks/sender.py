"""Sends the messages of the outbox to their endpoints.

    due messages ──claim (compare-and-set on next_at)──► sign, POST ──► attempt recorded
       ▲                                                                    │
       └──────────── next_at: the waits grow, until it is given up ◄────────┘

A claim runs out if its process does not live to end it, and the message is sent again.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from service.errors import SettingsError
from service.logs import log
from service.storage import claims
from service.storage.attempts import Attempt
from service.storage.claims import Message
from service.storage.engine import Database
from service.tracking.changes import Changes, wait_until_set
from service.tracking.webhooks.attempts import Attempts
from service.tracking.webhooks.shares import MAX_CONCURRENT, Shares

CLAIM = timedelta(seconds=12)
"""Longer than a request takes; afterwards the message is sent again."""

_PER_ROUND_WHILE_BUSY = 2  # while many callbacks arrive, which must not wait for what is sent
_BUSY = 300.0  # changes per second
_POLL = 0.5  # seconds between searches for due messages, if nothing wakes the sender
_ROUND = 0.005  # seconds between searches with a result; what ended meanwhile makes one round
_PAUSE = 0.05  # seconds after a search without result; limits searches under many callbacks


class _Wake(asyncio.Event):
    """Is set by changes, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._since = time.monotonic()

    def set(self) -> None:
        """Note a change."""
        self._count += 1
        super().set()

    def rate(self) -> float:
        """Return the changes per second since this was last called."""
        now = time.monotonic()
        rate = self._count / max(now - self._since, _PAUSE)
        self._count, self._since = 0, now
        return rate


class Sender:
    """Runs for the lifetime of the service. With several instances, one sends each message.

    Args:
        database: open, and migrated.
        attempts: makes the attempts.
        changes: wakes the sender after changes by this process.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._changes = changes
        self._clock = clock
        self._sending = set[asyncio.Task[Attempt | None]]()
        self._shares = Shares()
        self._woken = _Wake()
        self._per_round = MAX_CONCURRENT
        self._is_unsigned = False

    async def run(self) -> None:
        """Send due messages until cancelled."""
        with self._changes.wake(self._woken):
            try:
                while True:
                    await wait_until_set(self._woken, _POLL)
                    self._woken.clear()
                    await self._start_all(is_busy=self._woken.rate() > _BUSY)
                    await asyncio.sleep(_PAUSE)
            finally:
                for task in self._sending:
                    task.cancel()
                await asyncio.gather(*self._sending, return_exceptions=True)

    async def _start_all(self, *, is_busy: bool) -> None:
        self._per_round = _PER_ROUND_WHILE_BUSY if is_busy else MAX_CONCURRENT
        while await self.start_due():
            if is_busy:
                return
            await asyncio.sleep(_ROUND)

    async def start_due(self) -> int:
        """Claim due messages and start to send them; returns their number."""
        claimed = await self._claim()
        for message in claimed:
            self._start(message)
        return len(claimed)

    def _start(self, message: Message) -> None:
        task = asyncio.create_task(self._attempts.make(message))
        self._sending.add(task)
        self._shares.begin(message.destination)
        task.add_done_callback(partial(self._ended, message, time.monotonic()))

    def _ended(self, message: Message, begun_at: float, task: asyncio.Task[Attempt | None]) -> None:
        self._sending.discard(task)
        self._shares.end(message.destination, time.monotonic() - begun_at)
        asyncio.Event.set(self._woken)  # its destination may take another message
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook_attempt_lost", message_id=message.id, exc_info=error)

    async def _claim(self) -> list[Message]:
        if len(self._sending) >= MAX_CONCURRENT:
            return []
        now = self._clock()
        waiting = await self._database.read(claims.due_destinations, now)
        free = self._shares.divide(waiting, self._per_round)
        if not free or not self._can_sign():
            return []
        found = await self._database.read(claims.due, now, free)
        return await self._database.write(claims.claim, found, now, now + CLAIM)

    def _can_sign(self) -> bool:
        """Whether messages can be signed; until then they wait."""
        try:
            self._attempts.require_secrets()
        except SettingsError as error:
            if not self._is_unsigned:
                log.error("webhooks_unsigned", reason=str(error), hint=error.hint)
            self._is_unsigned = True
            return False
        return True
