"""What surfaces use of the archive: finds and reads what is kept, and says what is missing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.domain.query import EVERYTHING, Conditions, Query
from service.errors import InvalidInput
from service.logs import log
from service.storage import archive, listing
from service.storage.archive import ArchivedFile
from service.storage.engine import Database
from service.tracking.archive.copier import Copier
from service.tracking.archive.library import Library
from service.tracking.archive.redirects import Redirects

_BATCH = 1000
_SOON = timedelta(minutes=1)  # the waits after the first failures, and for the budget of requests


class Standing(NamedTuple):
    """How much is kept, and how many generations wait to be copied or were given up."""

    bytes: int
    waiting: int
    given_up: int


class Archive:
    """The archive, whether or not one is set.

    Args:
        database: open, and migrated.
        library: where the assets are kept; None: TRACKER_ARCHIVE is not set.
        copier: makes the copies; None likewise.
        redirects: where readers are sent for what is not kept.
        clock: returns the current time, aware and in UTC.
        stale_after: how long after it was heard of last an open generation is stale.
    """

    def __init__(
        self,
        database: Database,
        library: Library | None,
        copier: Copier | None,
        redirects: Redirects,
        clock: Callable[[], datetime],
        stale_after: timedelta,
    ) -> None:
        self._database = database
        self._library = library
        self._copier = copier
        self.redirects = redirects
        self._clock = clock
        self._stale_after = stale_after
        self._reading = Counter[str]()
        if copier:
            copier.is_open = lambda path: self._reading[path] > 0

    async def find(self, generation_id: str, name: str) -> ArchivedFile | None:
        """Return a kept asset; None: it is not kept, or there is no archive."""
        if self._library is None:
            return None
        return (await self._database.read(archive.files_of, generation_id)).get(name)

    async def open(self, file: ArchivedFile, start: int, end: int) -> AsyncIterator[bytes] | None:
        """Open a kept asset; returns its bytes from `start` up to before `end`, in chunks.

        The file is not deleted while it is read. None: it is not there, although it should be:
        somebody has deleted it, or the disk is not mounted.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        if self._library is None:
            raise AssertionError("without an archive nothing is found")
        try:
            chunks = await self._library.read(file.path, start, end)
        except FileNotFoundError:
            log.warning("archived_file_missing", generation_id=file.generation_id, path=file.path)
            return None
        return self._counted(file.path, chunks)

    async def missing(self, limit: int, query: Query = EVERYTHING) -> list[dict[str, Any]]:
        """Return the completed generations of which not all is kept, newest first.

        What the limit has deleted is not missing.

        Args:
            limit: the most generations.
            query: only those that it finds.
        """
        if query == EVERYTHING:
            return await self._database.read(archive.missing, limit)
        found = list[dict[str, Any]]()
        async for ids in self._found(query):
            found += await self._database.read(archive.missing, limit - len(found), ids)
            if len(found) >= limit:
                break
        return found

    async def standing(self) -> Standing:
        """Return how much is kept, and what is not yet."""
        kept = await self._database.read(archive.kept_bytes)
        return Standing(kept, *await self._database.read(archive.waiting))

    async def check(self) -> None:
        """Check that the archive can be written, if there is one.

        Raises:
            StoreUnavailable: it cannot be written.
        """
        if self._library:
            await self._library.check()

    async def add_missing(self, query: Query = EVERYTHING) -> int:
        """Write down all that is not kept, to be copied; returns how many are waiting.

        Args:
            query: only the generations that it finds.

        Raises:
            InvalidInput: there is no archive.
        """
        self._require()
        await self._database.write(archive.prepare)
        if query == EVERYTHING:
            while await self._database.write(archive.add_missing, self._clock(), _BATCH):
                pass
        else:
            async for ids in self._found(query):
                await self._database.write(archive.add_missing, self._clock(), _BATCH, ids)
        return (await self.standing()).waiting

    async def _found(self, query: Query) -> AsyncIterator[list[str]]:
        """Yield the ids of the generations that a query finds, newest first, in pages."""
        cursor = None
        while True:
            listed = listing.Query(q=query, limit=listing.MAX_LIMIT, cursor=cursor, fields=("id",))
            conditions = Conditions(self._clock(), self._stale_after)
            page = await listing.page(self._database, listed, conditions)
            yield [item.id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return

    async def copy_due(self, done: Callable[[int], None]) -> None:
        """Copy all that is due now or soon.

        Args:
            done: called for each generation that needs no further try, with the bytes copied.
        """
        copier = self._require()
        while True:
            await copier.copy_due(done)
            next_at = await self._database.read(archive.next_due)
            if next_at is None or next_at - self._clock() > _SOON:
                return
            await asyncio.sleep(max(0.0, (next_at - self._clock()).total_seconds()))

    def _require(self) -> Copier:
        if self._copier is None:
            raise InvalidInput(
                "archive",
                "TRACKER_ARCHIVE is not set.",
                "Set it to a folder, or to s3://bucket/prefix, gs://… or az://…",
            )
        return self._copier

    async def _counted(self, path: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._reading[path] += 1
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            self._reading[path] -= 1
