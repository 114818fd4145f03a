"""The use cases of all surfaces (REST, MCP, command line), which read data only through here."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from service.domain.generation import (
    Refreshable,
    good_until,
    has_expired_assets,
    is_ahead,
    is_stale,
    is_usable_id,
    require_usable_id,
)
from service.domain.query import Conditions
from service.errors import (
    NotFound,
    StoreUnavailable,
    TrackerError,
    UpstreamUnavailable,
)
from service.metrics import LOOKUPS
from service.storage import events, generations, listing
from service.storage.engine import Database
from service.storage.representation import Representation, Representations
from service.tracking.answer import Answer, Served
from service.tracking.archive.keeping import Archive
from service.tracking.backfill.walks import Backfill
from service.tracking.cache import Cache, PendingRead
from service.tracking.changes import Changes, wait_until_set
from service.tracking.deliveries import Deliveries
from service.tracking.fetcher import Fetcher
from service.tracking.history import History
from service.tracking.overview import Overview
from service.tracking.readiness import Readiness
from service.tracking.stats import Stats
from service.tracking.webhooks.endpoints import Webhooks

STALE_WHILE_WAITING = timedelta(seconds=5)
"""The age at which a row is stale while a client waits for it, if `stale_after` is longer."""

_COUNTERS = {served: LOOKUPS.labels(served.value) for served in Served}
_HITS = _COUNTERS[Served.HIT]


def utc_now() -> datetime:
    """Return the current time; the clock in production."""
    return datetime.now(UTC)


class Tracker:
    """Looks up stored generations, and fetches them from Luma when needed.

    Args:
        database: open, and migrated.
        fetcher: fetches generations from Luma.
        changes: notifies waiting clients.
        cache: recently read representations.
        backfill: walks through the upstreams' lists.
        webhooks: the endpoints that changes are sent to; surfaces reach them through here.
        archive: the assets that are kept.
        stale_after: the time without a report after which an open generation is stale.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        fetcher: Fetcher,
        changes: Changes,
        cache: Cache,
        backfill: Backfill,
        webhooks: Webhooks,
        archive: Archive,
        *,
        stale_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._fetcher = fetcher
        self._changes = changes
        self._cache = cache
        self._representations = Representations(database, self._good_until)
        self.history = History(database, changes, cache)
        self.backfill = backfill
        self.deliveries = Deliveries(database, changes, clock)
        self.overview = Overview(database)
        self.readiness = Readiness(database, clock)
        self.webhooks = webhooks
        self.archive = archive
        self.stats = Stats(database, clock)
        self._stale_after = stale_after
        self._clock = clock
        self._stopping = False

    def stop_waiting(self) -> None:
        """End all waits and followers, because the service is about to stop."""
        self._stopping = True
        self.history.stop_waiting()
        self._changes.notify_all()

    @property
    def warnings(self) -> list[str]:
        """Problems that do not stop the service, one sentence each."""
        return self._fetcher.warnings

    def lookup_nowait(self, generation_id: str, *, luma: bool = False) -> Answer | None:
        """Return what `lookup` would, if that needs neither waiting nor a request to Luma."""
        found = self._cache.get(generation_id)
        if luma and found and found.luma_body is None:
            found = None
        if found is None and is_usable_id(generation_id):
            found = self._representations.read_nowait(generation_id, luma=luma)
            found = found and self._cached(found)
        return found and self._hit(found)

    async def lookup_stored(self, generation_id: str, *, luma: bool = False) -> Answer | None:
        """Return what `lookup` would, if that needs no request to Luma.

        Raises:
            StoreUnavailable: the database failed.
        """
        answer = self.lookup_nowait(generation_id, luma=luma)
        if answer or not is_usable_id(generation_id):
            return answer
        found = await self._read(generation_id, luma=luma)
        return found and self._hit(found)

    async def lookup(
        self,
        generation_id: str,
        *,
        fresh: bool = False,
        luma: bool = False,
        upstream: str | None = None,
    ) -> Answer:
        """Return a generation; it is first fetched from Luma if it is not stored, or if `fresh`.

        A stale row is returned immediately and refreshed in the background. A row whose asset URLs
        have expired is fetched first. If a row is stored, a failure of an upstream never fails the
        lookup.

        Args:
            generation_id: its id.
            fresh: whether to ask Luma before answering.
            luma: whether the answer is to have Luma's own body, too.
            upstream: the only upstream that may be asked; None: any.

        Raises:
            InvalidInput: the id is not in the format of Luma's ids.
            NotFound: the generation is neither stored nor known to any upstream.
            UpstreamError: it is not stored, and an upstream failed.
            StoreUnavailable: the database failed.
        """
        require_usable_id(generation_id)
        if not fresh and (answer := await self.lookup_stored(generation_id, luma=luma)):
            return answer
        return await self._lookup(
            generation_id,
            fresh=fresh,
            stale_after=self._stale_after,
            luma=luma,
            upstream=upstream,
        )

    async def wait(self, generation_id: str, seconds: float, *, fresh: bool = False) -> Answer:
        """Like `lookup`, but return when the generation is final, or after `seconds`.

        A new generation may not be visible at Luma yet, and a database may be failing over. An
        unknown id, and one that cannot be read, are looked up again every few seconds.
        """
        require_usable_id(generation_id)
        if not fresh and (answer := self.lookup_nowait(generation_id)) and answer.final:
            return answer
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        stale_after = min(self._stale_after, STALE_WHILE_WAITING)
        with self._changes.subscribe(generation_id) as changed:
            found = await self._attempt(generation_id, fresh=fresh, stale_after=stale_after)
            while self._should_wait(found) and (left := deadline - clock()) > 0:
                await wait_until_set(changed, min(left, stale_after.total_seconds()))
                changed.clear()
                found = await self._attempt(generation_id, fresh=False, stale_after=stale_after)
        if isinstance(found, TrackerError):
            raise found
        return found

    def conditions(self) -> Conditions:
        """Return what a query depends on besides itself, at this time."""
        return Conditions(self._clock(), self._stale_after)

    async def page(self, query: listing.Query, at: Conditions | None = None) -> listing.Page:
        """Return a page of stored generations, as of now or `at`; makes no request to Luma."""
        self._changes.start_following()
        page = await listing.page(self._database, query, at or self.conditions())
        for item in page.items:
            self._cache.invalidate_older(item.id, item.rev)
        return page

    async def newest(self, upstream: str, limit: int, offset: int) -> list[Representation]:
        """Return the newest stored generations of an upstream; makes no request to Luma."""
        return await self._representations.newest(upstream, limit, offset)

    async def events(self, generation_id: str, *, after: int, limit: int) -> list[events.Event]:
        """Return the events of a stored generation, oldest first.

        Raises:
            InvalidInput: the id is not in the format of Luma's ids.
            NotFound: the generation is not stored.
        """
        require_usable_id(generation_id)
        if await self._database.read(generations.find, generation_id) is None:
            raise NotFound(
                f"No events are stored for {generation_id}.",
                "Look up the generation first.",
            )
        found = await self._database.read(
            events.of_generation, generation_id, after=after, limit=limit
        )
        for event in found:
            self._cache.invalidate_older(generation_id, event.rev)
        return found

    async def _attempt(
        self, generation_id: str, *, fresh: bool, stale_after: timedelta
    ) -> Answer | TrackerError:
        """Look up a generation; returns the error if a later attempt may succeed."""
        try:
            return await self._lookup(generation_id, fresh=fresh, stale_after=stale_after)
        except (NotFound, UpstreamUnavailable, StoreUnavailable) as error:
            return error

    async def _lookup(
        self,
        generation_id: str,
        *,
        fresh: bool,
        stale_after: timedelta,
        luma: bool = False,
        upstream: str | None = None,
    ) -> Answer:
        stored = await self._read(generation_id, luma=luma)
        if stored is None:
            await self._fetcher.fetch_unknown(generation_id, fresh=fresh, upstream=upstream)
            return self._answer(await self._read_again(generation_id, luma=luma), Served.MISS)
        may_ask = upstream in (None, stored.upstream)
        if not (may_ask and self._fetcher.has_key_for(stored.upstream)):
            return self._answer(stored, Served.HIT)
        if fresh or has_expired_assets(stored, self._clock()):
            await self._fetcher.refresh(generation_id)
            return self._answer(await self._read_again(generation_id, luma=luma), Served.STALE)
        if is_stale(stored, self._clock(), stale_after):
            self._fetcher.refresh_in_background(generation_id)
            return self._answer(stored, Served.STALE)
        return self._answer(stored, Served.HIT)

    async def _read(self, generation_id: str, *, luma: bool) -> Representation | None:
        with self._cache.reading(generation_id) as read:
            found = await self._representations.read(generation_id, luma=luma)
            return found and self._cached(found, read)

    async def _read_again(self, generation_id: str, *, luma: bool) -> Representation:
        """Read what a fetch has just stored. The service itself never deletes a generation."""
        if (found := await self._read(generation_id, luma=luma)) is None:
            raise NotFound(
                f"{generation_id} was deleted from the database during the lookup.", "Retry."
            )
        return found

    def _cached(self, found: Representation, read: PendingRead | None = None) -> Representation:
        self._cache.put(found, read)
        self._changes.start_following()
        return found

    def _good_until(self, row: Refreshable) -> datetime | None:
        has_key = self._fetcher.has_key_for(row.upstream)
        return good_until(row, self._stale_after) if has_key else None

    def _hit(self, found: Representation) -> Answer | None:
        """Return the answer, unless the row is stale or its asset URLs have expired."""
        until, now = found.good_until, self._clock()
        if until is not None and (until <= now or is_ahead(found.heard_at, now)):
            return None
        _HITS.inc()
        return Answer(found, Served.HIT, now - found.heard_at)

    def _answer(self, found: Representation, served: Served) -> Answer:
        _COUNTERS[served].inc()
        return Answer(found, served, self._clock() - found.heard_at)

    def _should_wait(self, found: Answer | TrackerError) -> bool:
        final = isinstance(found, Answer) and found.final
        return not (self._stopping or final)
