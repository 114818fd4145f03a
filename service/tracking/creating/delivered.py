"""Notes which answers have reached their callers: after these, a retry is a new create."""

import asyncio
from contextlib import suppress

from service.errors import StoreUnavailable
from service.storage import submissions
from service.storage.engine import Database

_PAUSE = 0.1  # seconds; Luma's SDKs wait longer than this before they send a create again


class DeliveredAnswers:
    """Writes down the ids of creates, those of a moment in one commit.

    If that fails, an SDK's retry gets the same answer again, which is harmless.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: list[str] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, submission_id: str) -> None:
        """Note that the caller has received the answer to this create."""
        self._ids.append(submission_id)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_later(), name="delivered")

    async def write(self) -> None:
        """Write down what has been noted."""
        ids, self._ids = self._ids, []
        if ids:
            with suppress(StoreUnavailable):
                await self._database.write(submissions.mark_delivered, ids)

    async def close(self) -> None:
        """Write down the rest."""
        if self._writing:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self.write()

    async def _write_later(self) -> None:
        while self._ids:
            await asyncio.sleep(_PAUSE)
            await self.write()
