"""Keeps the index of words up to date, behind the service."""

import asyncio

from service.logs import log
from service.storage import words
from service.storage.engine import Database
from service.tracking.changes import Changes, wait_until_set

_BATCH = 200  # generations per commit; limits how long a callback waits for the writer
_PAUSE = 0.01  # seconds between batches, which leave the writer to other transactions
_REST = 0.5  # seconds between changes: a search looks at what is not indexed yet
_RETRY = 600.0  # seconds; somebody may have given the right to create the index


class WordIndexer:
    """Runs for the lifetime of the service.

    Args:
        database: open, and migrated.
        changes: says when there is more to index.
    """

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes

    async def run(self) -> None:
        """Run until cancelled."""
        with self._changes.subscribe(Changes.ANY) as changed:
            while True:
                await self.index()
                await wait_until_set(changed, _RETRY)
                changed.clear()
                await asyncio.sleep(_REST)

    async def index(self) -> None:
        """Index everything that has changed, if the database can have the index."""
        done, total = _BATCH, 0
        while done >= _BATCH:  # else the rest can wait, and be one commit with what comes
            done = await self._database.write(words.advance, _BATCH)
            total += done
            await asyncio.sleep(_PAUSE)
        if total > 50 * _BATCH:
            log.info("words_indexed", generations=total)
