"""Sends the messages of the outbox to their endpoints.

    due messages ──claim (compare-and-set on next_at)──► sign, POST ──► attempt recorded
       ▲                                                                    │
       └──────────── next_at: the waits grow, until it is given up ◄────────┘

A claim runs out if its process does not live to end it, and the message is sent again. Each
destination has a share of the requests under way, so that a slow one delays no other.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from service.errors import SettingsError
from service.logs import log
from service.storage import outbox
from service.storage.engine import Database
from service.storage.outbox import Attempt, Message
from service.tracking.attempts import Attempts
from service.tracking.changes import Changes, wait_until_set

CLAIM = timedelta(seconds=12)
"""Longer than a request takes; afterwards the message is sent again."""

_MAX_CONCURRENT = 128
_MAX_PER_DESTINATION = 8
_POLL = 0.5  # seconds between searches for due messages, if nothing wakes the sender
_PAUSE = 0.05  # seconds after a search without result; limits searches under many callbacks


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
        self._woken = asyncio.Event()
        self._is_unsigned = False

    async def run(self) -> None:
        """Send due messages until cancelled."""
        with self._changes.wake(self._woken):
            try:
                while True:
                    while await self.start_due():
                        pass
                    await asyncio.sleep(_PAUSE)
                    await wait_until_set(self._woken, _POLL)
                    self._woken.clear()
            finally:
                for task in self._sending:
                    task.cancel()
                await asyncio.gather(*self._sending, return_exceptions=True)

    async def send_due(self) -> None:
        """Send all messages that are due now, and wait until that is done."""
        while await self.start_due() or self._sending:
            await asyncio.gather(*self._sending, return_exceptions=True)

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
        self._woken.set()  # its destination may take another message
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook_attempt_lost", message_id=message.id, exc_info=error)

    async def _claim(self) -> list[Message]:
        free = _MAX_CONCURRENT - len(self._sending)
        if free <= 0:
            return []
        now = self._clock()
        full = [name for name, count in self._busy.items() if count >= _MAX_PER_DESTINATION]
        found = await self._database.read(outbox.due, now, full, free)
        chosen = self._fair_share(found)
        if not chosen or not self._can_sign():
            return []
        return await self._database.write(outbox.claim, chosen, now, now + CLAIM)

    def _fair_share(self, found: Sequence[outbox.Due]) -> list[int]:
        """Leave out messages to destinations that have enough requests under way."""
        busy, chosen = self._busy.copy(), list[int]()
        for each in found:
            if busy[each.destination] < _MAX_PER_DESTINATION:
                busy[each.destination] += 1
                chosen.append(each.seq)
        return chosen

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
