"""Sends the messages of the outbox to their endpoints.

    due messages ──claim (compare-and-set on next_at)──► sign, POST ──► attempt recorded
       ▲                                                                    │
       └──────────── next_at: the waits grow, until it is given up ◄────────┘

A claim runs out if its process does not live to end it, and the message is sent again. Each
destination has a share of the requests under way, so that a slow one delays no other.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from service.errors import SettingsError
from service.logs import log
from service.storage import claims
from service.storage.attempts import Attempt
from service.storage.claims import Message
from service.storage.engine import Database
from service.tracking.changes import Changes, wait_until_set
from service.tracking.webhooks.attempts import Attempts

CLAIM = timedelta(seconds=12)
"""Longer than a request takes; afterwards the message is sent again."""

_MAX_CONCURRENT = 128
_MAX_PER_DESTINATION = 8
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
        self._busy = Counter[str]()
        self._woken = _Wake()
        self._per_round = _MAX_CONCURRENT
        self._served_last = ""
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

    async def send_due(self) -> None:
        """Send all messages that are due now, and wait until that is done."""
        while await self.start_due() or self._sending:
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _start_all(self, *, is_busy: bool) -> None:
        self._per_round = _PER_ROUND_WHILE_BUSY if is_busy else _MAX_CONCURRENT
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
        self._busy[message.destination] += 1
        task.add_done_callback(lambda task: self._ended(task, message))

    def _ended(self, task: asyncio.Task[Attempt | None], message: Message) -> None:
        self._sending.discard(task)
        self._busy -= Counter([message.destination])
        asyncio.Event.set(self._woken)  # its destination may take another message
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook_attempt_lost", message_id=message.id, exc_info=error)

    async def _claim(self) -> list[Message]:
        if len(self._sending) >= _MAX_CONCURRENT:
            return []
        now = self._clock()
        free = self._shares(await self._database.read(claims.due_destinations, now))
        if not free or not self._can_sign():
            return []
        found = await self._database.read(claims.due, now, free)
        return await self._database.write(claims.claim, found, now, now + CLAIM)

    def _shares(self, destinations: Sequence[str]) -> dict[str, int]:
        """Return how many more messages each destination may have under way.

        They take turns, and those with the fewest requests under way come first.
        """
        left = min(_MAX_CONCURRENT - len(self._sending), self._per_round)
        shares = dict[str, int]()
        turns = sorted(destinations, key=lambda name: (name <= self._served_last, name))
        for name in sorted(turns, key=lambda name: self._busy[name]):
            share = min(_MAX_PER_DESTINATION - self._busy[name], left)
            if share > 0:
                shares[name], left = share, left - share
                self._served_last = name
        return shares

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
