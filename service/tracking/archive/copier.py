"""Copies the assets of completed and verified generations to the archive.

    due generations ──claim (next_at)──► download ──► put in place ──► recorded: `archived`
          ▲                                                                  │
          └──────── next_at: the waits grow, until it is given up ◄──────────┘

A process that stops ends its claims; those of one that is killed run out. Another one resumes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from service.domain.generation import Generation, has_expired_assets
from service.domain.request_budget import Purpose
from service.domain.retries import next_attempt
from service.errors import StoreUnavailable, UpstreamError, UpstreamUnavailable
from service.logs import log
from service.metrics import ARCHIVE_BYTES, ARCHIVE_COPIES
from service.storage import archive, generations
from service.storage.archive import ArchivedFile, Copy
from service.storage.engine import Database
from service.storage.snapshot import body_of
from service.tracking.archive.assets import file_name, folder_of, urls_of
from service.tracking.archive.download import Dead, Staged, download
from service.tracking.archive.library import Library
from service.tracking.archive.throttle import Throttle
from service.tracking.changes import Changes, wait_until_set
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Undeliverable
from service.tracking.fetcher import Fetcher

AT_ONCE = 6
_CLAIM = timedelta(minutes=10)
_LONGEST = 540.0  # seconds for one generation; less than its claim, and the next try resumes
_EXEMPT = timedelta(days=1)
_WAIT = 5.0  # seconds between looks for work of other processes, and for retries
_BATCH = 100
_SOONEST = 5.0  # seconds until Luma is asked again
_ABANDONED = timedelta(days=2)  # without a byte: longer than a copy is tried
_DESCRIPTION = "generation.json"

Take = Callable[[], Awaitable[Copy | None]]
Done = Callable[[int], None]


class Copier:
    """Copies assets, at most `AT_ONCE` generations at a time.

    Args:
        database: open, and migrated.
        library: where the assets are kept.
        limit: the most bytes that are kept; None: any number.
        dialler: sends the requests.
        fetcher: fetches generations whose URLs have died.
        changes: notified of every generation that has changed.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        library: Library,
        limit: int | None,
        dialler: Dialler,
        fetcher: Fetcher,
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._library = library
        self._limit = limit
        self._dialler = dialler
        self._fetcher = fetcher
        self._changes = changes
        self._clock = clock
        self._throttle = Throttle()
        self._evicting = asyncio.Lock()
        self.is_open: Callable[[str], bool] = lambda _path: False
        """Whether a reader has the file at a path open."""

    async def run(self) -> None:
        """Run until cancelled."""
        await self._database.write(archive.prepare)
        await asyncio.to_thread(self._library.tidy, self._clock() - _ABANDONED)
        changed, turn = asyncio.Event(), asyncio.Lock()
        with self._changes.wake(changed):
            await self._work(partial(self._awaited, changed, turn))

    async def copy_due(self, done: Done = lambda _bytes: None) -> None:
        """Copy all that is due.

        Args:
            done: called for each generation that needs no further try, with the bytes copied.
        """
        await self._work(self._claimed, done)

    async def _work(self, take: Take, done: Done = lambda _bytes: None) -> None:
        """Copy what `take` returns, `AT_ONCE` at a time, until it returns None."""

        async def work() -> None:
            while copy := await take():
                try:
                    copied = await self._copy(copy)
                    if copied is not None:
                        done(copied)
                    await self._evict()
                except StoreUnavailable as error:  # a claim that is left runs out
                    log.warning("copy_failed", generation_id=copy.generation.id, error=str(error))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _awaited(self, changed: asyncio.Event, turn: asyncio.Lock) -> Copy:
        """Claim a copy as soon as one is due; of the workers that are free, one looks at a time."""
        async with turn:
            while True:
                changed.clear()
                with suppress(StoreUnavailable):  # the engine has logged it; others go on copying
                    if copy := await self._claimed():
                        return copy
                await wait_until_set(changed, _WAIT)

    async def _claimed(self) -> Copy | None:
        """Claim the copy that is due longest; None if none is due."""
        now = self._clock()
        claimed = await self._database.write(archive.claim, now, now + _CLAIM, 1)
        return claimed[0] if claimed else None

    async def _copy(self, copy: Copy) -> int | None:
        """Copy what is missing of a generation, and end its claim.

        Returns:
            The bytes copied; None if it is tried again later.
        """
        try:
            async with asyncio.timeout(_LONGEST):
                copied = await self._copy_all(copy.generation)
        except asyncio.CancelledError:  # we stop: whoever starts next need not wait for the claim
            await self._database.write(archive.postpone, copy, self._clock(), None)
            raise
        except _Unwanted:
            copied = 0
        except UpstreamUnavailable as error:  # the budget is spent: that is no try
            next_at = self._clock() + timedelta(seconds=max(error.retry_after, _SOONEST))
            await self._database.write(archive.postpone, copy, next_at, str(error))
            return None
        except (Undeliverable, Dead, StoreUnavailable, OSError) as error:
            return await self._fail(copy, str(error) or f"It took longer than {_LONGEST:g} s.")
        if copied:
            ARCHIVE_COPIES.labels("copied").inc()
        await self._database.write(archive.finish, copy)
        return copied

    async def _fail(self, copy: Copy, reason: str) -> int | None:
        tried = replace(copy, tries=copy.tries + 1)
        next_at = next_attempt(tried.tries, self._clock())
        log.warning("copy_failed", generation_id=copy.generation.id, error=reason)
        ARCHIVE_COPIES.labels("failed").inc()
        await self._database.write(archive.postpone, tried, next_at, reason)
        return None if next_at else 0

    async def _copy_all(self, row: Generation) -> int:
        if has_expired_assets(row, self._clock()):
            row = await self._fetched(row)
        _require_wanted(row)
        known, copied = await self._database.read(archive.names_of, row.id), 0
        for name in urls_of(row.assets, row.outputs):
            if name not in known:
                row, size = await self._copy_one(row, name)
                copied += size
        if not copied:  # also after a crash that left it out
            await self._describe(row)
        return copied

    async def _copy_one(self, row: Generation, name: str) -> tuple[Generation, int]:
        try:
            staged = await self._download(row, name)
        except Dead:
            row = await self._fetched(row)
            _require_wanted(row)
            staged = await self._download(row, name)
        return await self._keep(row, name, staged), staged.bytes

    async def _download(self, row: Generation, name: str) -> Staged:
        url = urls_of(row.assets, row.outputs).get(name)
        if url is None:
            raise Dead("Luma no longer names a URL.")
        key = f"{row.id}/{name}"
        return await download(self._dialler, url, self._library.staging, key, self._throttle)

    async def _fetched(self, row: Generation) -> Generation:
        """Return the generation as Luma reports it now; as it was, if Luma refuses or has no key.

        Raises:
            UpstreamUnavailable: Luma cannot be asked now.
        """
        if not self._fetcher.has_key_for(row.upstream):
            return row
        try:
            await self._fetcher.check(row, Purpose.RECONCILE)
        except UpstreamUnavailable:
            raise
        except UpstreamError as error:
            log.info("check_failed", generation_id=row.id, reason=str(error))
        return await self._database.read(generations.find, row.id) or row

    async def _keep(self, row: Generation, name: str, staged: Staged) -> Generation:
        path = f"{folder_of(row)}/{file_name(name, staged.content_type)}"
        await self._library.put_file(path, staged.path)
        file = ArchivedFile(
            *(row.id, name, path, staged.bytes, staged.sha256, staged.content_type),
            at=self._clock(),
        )
        after = await self._database.write(archive.record, file)
        await self._describe(after)
        ARCHIVE_BYTES.inc(staged.bytes)
        self._changes.notify(row.id)
        return after

    async def _describe(self, row: Generation) -> None:
        await self._library.put_bytes(f"{folder_of(row)}/{_DESCRIPTION}", body_of(row))

    async def _evict(self) -> None:
        """Delete the oldest files until the limit holds, except new ones and those being read."""
        if self._limit is None:
            return
        async with self._evicting:  # else each worker deletes what all have copied
            over = await self._database.read(archive.kept_bytes) - self._limit
            if over <= 0:
                return
            before = self._clock() - _EXEMPT
            for file in await self._database.read(archive.oldest, before, _BATCH):
                if over > 0 and not self.is_open(file.path):
                    await self._library.delete(file.path)  # first: a failure is tried again
                    await self._database.write(archive.evict, file, self._clock())
                    self._changes.notify(file.generation_id)
                    over -= file.bytes


class _Unwanted(Exception):
    """The generation is gone, has failed after all, or is unconfirmed: there is nothing to copy."""


def _require_wanted(row: Generation) -> None:
    if not archive.is_wanted(row):
        raise _Unwanted
    if not urls_of(row.assets, row.outputs):
        raise Dead("Luma names no URL yet.")
