"""Backfill: stores the generations that an upstream lists and the tracker has never heard of.

One walk runs at a time. Its progress is in the database, so any instance can continue it:

    start ──► row `running`, owned by this instance ──► pages ──► `done` or `failed`
                 │ the owner reports every 3 s, else after 10 s
                 └──► another instance claims the walk, and continues it where it was
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from service.domain.times import parse_time
from service.errors import (
    InvalidInput,
    StoreUnavailable,
    TrackerError,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from service.logs import log
from service.luma import Upstream
from service.storage import backfills
from service.storage.backfills import DONE, FAILED, RUNNING, Walk
from service.storage.engine import Database
from service.tracking.backfill.list_walk import ListWalk, WalkLost
from service.tracking.changes import Changes, wait_until_set

_LEASE = timedelta(seconds=10)  # then a walk whose owner does not report is continued by another
_REPORT_INTERVAL = 3.0  # seconds
_INTERVAL = 1.0  # seconds between looks for walks that another instance has left
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_FAILURES: dict[str, type[TrackerError]] = {
    "unavailable": UpstreamUnavailable,
    "refused": UpstreamRefused,
    "unforeseen": TrackerError,
}


class Backfill:
    """Starts, continues and shows walks.

    Args:
        database: open, and migrated.
        upstreams: the upstreams for which an API key is set, by name.
        changes: notified of every row that is stored.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        upstreams: Mapping[str, Upstream],
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._upstreams = upstreams
        self._walks = ListWalk(database, changes, clock)
        self._clock = clock
        self._owner = str(uuid4())
        self._started = asyncio.Event()

    async def start(
        self, upstream: str | None = None, since: str | None = None, *, everything: bool = False
    ) -> Walk:
        """Start a walk, or return the one that is running. `run` continues it.

        Args:
            upstream: whose list; None: of the first that has a key, Dream Machine before Agents.
            since: how far back to go; None: to the end of the list, or to known ground.
            everything: whether to go on where everything is stored already, to the end of the list.

        Raises:
            InvalidInput: the upstream is unknown or has no key, or `since` is not a time.
        """
        return await self._start(self._wanted(upstream, since, everything=everything))

    async def complete(
        self, upstream: str | None = None, since: str | None = None, *, everything: bool = False
    ) -> Walk:
        """Like `start`, but continue the walk, here or where it is running, and return its end.

        A walk that is running already is finished first. If it reads less, another one follows.

        Raises:
            InvalidInput: see `start`.
            TrackerError: the walk has failed.
        """
        wanted = self._wanted(upstream, since, everything=everything)
        while True:
            walk = await self._start(wanted)
            ended = await self._finish(walk)
            if walk.covers(wanted):
                return ended

    async def newest(self) -> Walk | None:
        """Return the walk that was started last; None if there was none yet."""
        return await self._database.read(backfills.newest)

    async def run(self) -> None:
        """Continue the walks of this instance, and those that others have left, until cancelled."""
        while True:
            if ended := await self._continue():
                _log_end(ended)
            await wait_until_set(self._started, _INTERVAL)
            self._started.clear()

    async def length(self, upstream: str) -> int | None:
        """Return about how many generations an upstream lists; None if it does not tell.

        Costs about ten requests.
        """
        try:
            return await self._walks.length(self._upstreams[upstream])
        except TrackerError:
            return None

    async def _start(self, wanted: Walk) -> Walk:
        now = self._clock()
        wanted = wanted._replace(started_at=now, heard_at=now)
        walk, is_new = await self._database.write(backfills.start, wanted)
        if is_new:
            kind = {"since": walk.since and walk.since.isoformat(), "everything": walk.everything}
            log.info("backfill_started", upstream=walk.upstream, **kind)
            self._started.set()
        return walk

    async def _finish(self, walk: Walk) -> Walk:
        while walk.state == RUNNING:
            if await self._continue() is None:
                await asyncio.sleep(_INTERVAL)
            found = await self._database.read(backfills.find, walk.upstream)
            walk = found or walk
        if walk.state == FAILED:
            raise _error(walk)
        return walk

    async def _continue(self) -> Walk | None:
        """Continue a walk to its end, and return it; None if there is none to continue."""
        if not await self._database.read(backfills.any_running):
            return None
        claimed = await self._database.write(
            backfills.claim, self._owner, list(self._upstreams), self._clock(), _LEASE
        )
        if claimed is None:
            return None
        if claimed.pages:
            log.info("backfill_continued", upstream=claimed.upstream, pages=claimed.pages)
        with suppress(WalkLost):
            async with self._reporting(claimed):
                return await self._walk(claimed)
        return None

    async def _walk(self, walk: Walk) -> Walk:
        try:
            return await self._walks.read_on(walk, self._upstreams[walk.upstream])
        except UpstreamUnavailable as error:
            return await self._fail(walk, f"{error} {error.hint}", "unavailable")
        except UpstreamError as error:
            return await self._fail(walk, f"{error} {error.hint}", "refused")
        except (StoreUnavailable, WalkLost):
            raise  # it can be continued
        except Exception as error:  # noqa: BLE001 - a bug must not be repeated forever
            log.exception("backfill_broken", upstream=walk.upstream)
            return await self._fail(walk, f"Internal error: {type(error).__name__}.", "unforeseen")

    async def _fail(self, walk: Walk, reason: str, kind: str) -> Walk:
        """Record that a walk has failed. What its pages have stored stays."""
        now, found = self._clock(), await self._database.read(backfills.find, walk.upstream)
        failed = (found or walk)._replace(
            owner=self._owner, state=FAILED, error=reason.strip(), failure=kind, finished_at=now
        )
        if not await self._database.write(backfills.save, failed):
            raise WalkLost
        return failed

    @asynccontextmanager
    async def _reporting(self, walk: Walk) -> AsyncIterator[None]:
        """Report regularly that the walk is continued; release it if this is cancelled."""
        reporting = asyncio.create_task(self._report(walk), name="backfill-report")
        try:
            yield
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):
                await asyncio.shield(self._database.write(backfills.report, walk, _LONG_AGO))
            raise
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _report(self, walk: Walk) -> None:
        while True:
            await asyncio.sleep(_REPORT_INTERVAL)
            with suppress(StoreUnavailable):
                await self._database.write(backfills.report, walk, self._clock())

    def _wanted(self, upstream: str | None, since: str | None, *, everything: bool) -> Walk:
        now = self._clock()
        return Walk(
            upstream=self._chosen(upstream),
            since=_parsed(since, now) if since is not None else None,
            everything=everything,
            started_at=now,
            owner=self._owner,
            heard_at=now,
        )

    def _chosen(self, upstream: str | None) -> str:
        if upstream is None and self._upstreams:
            return next(iter(self._upstreams))
        if upstream in self._upstreams:
            return str(upstream)
        message = f"`{upstream}` cannot be backfilled." if upstream else "No API key is set."
        hint = "Set LUMAAI_API_KEY for dream_machine, or LUMA_AGENTS_API_KEY for agents."
        if self._upstreams:
            hint = f"Use {' or '.join(self._upstreams)}. {hint}"
        raise InvalidInput("upstream", message, hint)


def _parsed(since: str, now: datetime) -> datetime:
    try:
        return parse_time(since, now)
    except ValueError as error:
        raise InvalidInput("since", f"{error}.") from error


def _log_end(walk: Walk) -> None:
    counts = {"pages": walk.pages, "seen": walk.seen, "new": walk.new}
    if walk.state == DONE:
        log.info("backfill_finished", upstream=walk.upstream, **counts)
    else:
        log.error("backfill_failed", upstream=walk.upstream, reason=walk.error, **counts)


def _error(walk: Walk) -> TrackerError:
    kind = _FAILURES.get(walk.failure or "", TrackerError)
    message = walk.error or "The backfill failed."
    error = kind(walk.upstream, message) if issubclass(kind, UpstreamError) else kind(message)
    error.hint = ""  # the message has it
    return error
