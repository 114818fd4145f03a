"""The use cases. Every surface (REST, MCP, command line) reads data through here alone."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from service.domain.generation import (
    Aging,
    good_until,
    has_dead_assets,
    is_ahead,
    is_stale,
    is_usable_id,
)
from service.errors import InvalidInput, NotFound, TrackerError, UpstreamUnavailable
from service.metrics import LOOKUPS
from service.storage import events, generations, listing
from service.storage.engine import Database
from service.storage.representation import Representation, Representations
from service.tracking.answer import Answer, Served
from service.tracking.cache import Cache, PendingRead
from service.tracking.changes import Changes, wait_until_set
from service.tracking.deliveries import Deliveries
from service.tracking.fetcher import Fetcher
from service.tracking.history import History
from service.tracking.readiness import Readiness

STALE_WHILE_WAITING = timedelta(seconds=5)
"""For how long a generation that somebody waits for may be quiet before Luma is asked."""

_COUNTERS = {served: LOOKUPS.labels(served.value) for served in Served}
_HITS = _COUNTERS[Served.HIT]


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


class Tracker:
    """Knows every generation that Luma told us of.

    Args:
        database: open, and migrated.
        fetcher: asks Luma.
        changes: notifies those who wait.
        cache: representations that were read lately.
        stale_after: how long an open generation may be quiet before it is refreshed.
        clock: tells the time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        fetcher: Fetcher,
        changes: Changes,
        cache: Cache,
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
        self.deliveries = Deliveries(database, changes, clock)
        self.readiness = Readiness(database, clock)
        self._stale_after = stale_after
        self._clock = clock
        self._stopping = False

    def stop_waiting(self) -> None:
        """Answer everybody who waits now, because the service is about to stop."""
        self._stopping = True
        self.history.stop_waiting()
        self._changes.notify_all()

    @property
    def warnings(self) -> list[str]:
        """What is wrong although the service goes on, one sentence each."""
        return self._fetcher.warnings

    def lookup_nowait(self, generation_id: str) -> Answer | None:
        """What `lookup` answers, if that needs neither waiting nor a request to Luma."""
        found = self._cache.get(generation_id)
        if found is None and is_usable_id(generation_id):
            found = self._representations.read_nowait(generation_id)
            found = found and self._keep(found)
        return found and self._hit(found)

    async def lookup_stored(self, generation_id: str) -> Answer | None:
        """What `lookup` answers, if that needs no request to Luma.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        if (answer := self.lookup_nowait(generation_id)) or not is_usable_id(generation_id):
            return answer
        found = await self._read(generation_id)
        return found and self._hit(found)

    async def lookup(self, generation_id: str, *, fresh: bool = False) -> Answer:
        """What we know of a generation; Luma is asked only if it is unknown, or `fresh`.

        A row that has been quiet too long is answered at once and refreshed in the background; one
        whose asset URLs have expired is fetched first. Once a row is stored, no failure of an
        upstream fails the read.

        Raises:
            InvalidInput: Luma's ids do not look like that.
            NotFound: nobody knows it.
            UpstreamError: it is not stored, and an upstream could not tell us.
            StoreUnavailable: the database did not answer.
        """
        _require_usable(generation_id)
        if not fresh and (answer := await self.lookup_stored(generation_id)):
            return answer
        return await self._lookup(generation_id, fresh=fresh, quiet=self._stale_after)

    async def wait(self, generation_id: str, seconds: float, *, fresh: bool = False) -> Answer:
        """As `lookup`, but answers as soon as the generation is terminal, or after `seconds`.

        Luma, or a callback, may need a moment to show a new generation: an id that nobody knows
        yet is asked for again every few seconds, until the time is up.
        """
        _require_usable(generation_id)
        if not fresh and (answer := self.lookup_nowait(generation_id)) and answer.final:
            return answer
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        quiet = min(self._stale_after, STALE_WHILE_WAITING)
        with self._changes.subscribe(generation_id) as changed:
            found = await self._attempt(generation_id, fresh=fresh, quiet=quiet)
            while self._worth_waiting(found) and (left := deadline - clock()) > 0:
                await wait_until_set(changed, min(left, quiet.total_seconds()))
                changed.clear()
                found = await self._attempt(generation_id, fresh=False, quiet=quiet)
        if isinstance(found, TrackerError):
            raise found
        return found

    async def page(self, query: listing.Query) -> listing.Page:
        """A page of what is stored; costs no request to Luma."""
        self._changes.start_following()
        page = await listing.page(self._database, query)
        for item in page.items:
            self._cache.invalidate_older(item.id, item.rev)
        return page

    async def events(self, generation_id: str, *, after: int, limit: int) -> list[events.Event]:
        """The history of a generation that is stored, oldest first.

        Raises:
            NotFound: it is not stored.
        """
        _require_usable(generation_id)
        if await self._database.read(generations.find, generation_id) is None:
            raise NotFound(
                f"No history is stored for {generation_id}.", "Look the generation up first."
            )
        found = await self._database.read(
            events.of_generation, generation_id, after=after, limit=limit
        )
        for event in found:
            self._cache.invalidate_older(generation_id, event.rev)
        return found

    async def _attempt(
        self, generation_id: str, *, fresh: bool, quiet: timedelta
    ) -> Answer | NotFound | UpstreamUnavailable:
        """What a lookup answers, or why there is nothing yet."""
        try:
            return await self._lookup(generation_id, fresh=fresh, quiet=quiet)
        except (NotFound, UpstreamUnavailable) as error:
            return error

    async def _lookup(self, generation_id: str, *, fresh: bool, quiet: timedelta) -> Answer:
        stored = await self._read(generation_id)
        if stored is None:
            await self._fetcher.fetch_unknown(generation_id, fresh=fresh)
            return self._answer(await self._read_again(generation_id), Served.MISS)
        if not self._fetcher.can_ask(stored.upstream):
            return self._answer(stored, Served.HIT)
        if fresh or has_dead_assets(stored, self._clock()):
            await self._fetcher.refresh(generation_id)
            return self._answer(await self._read_again(generation_id), Served.STALE)
        if is_stale(stored, self._clock(), quiet):
            self._fetcher.refresh_in_background(generation_id)
            return self._answer(stored, Served.STALE)
        return self._answer(stored, Served.HIT)

    async def _read(self, generation_id: str) -> Representation | None:
        with self._cache.reading(generation_id) as read:
            found = await self._representations.read(generation_id)
            return found and self._keep(found, read)

    async def _read_again(self, generation_id: str) -> Representation:
        """What a fetch has just stored. No row is ever removed, except by hand."""
        if (found := await self._read(generation_id)) is None:
            raise NotFound(f"{generation_id} was removed from the database.")
        return found

    def _keep(self, found: Representation, read: PendingRead | None = None) -> Representation:
        self._cache.keep(found, read)
        self._changes.start_following()
        return found

    def _good_until(self, row: Aging) -> datetime | None:
        return good_until(row, self._stale_after) if self._fetcher.can_ask(row.upstream) else None

    def _hit(self, found: Representation) -> Answer | None:
        """The answer, unless Luma has to be asked first."""
        until, now = found.good_until, self._clock()
        if until is not None and (until <= now or is_ahead(found.heard_at, now)):
            return None
        _HITS.inc()
        return Answer(found, Served.HIT, now - found.heard_at)

    def _answer(self, found: Representation, served: Served) -> Answer:
        _COUNTERS[served].inc()
        return Answer(found, served, self._clock() - found.heard_at)

    def _worth_waiting(self, found: Answer | TrackerError) -> bool:
        final = isinstance(found, Answer) and found.final
        return not (self._stopping or final)


def _require_usable(generation_id: str) -> None:
    if not is_usable_id(generation_id):
        raise InvalidInput(
            "generation_id",
            "This cannot be the id of a generation.",
            "An id is 1-128 characters of A-Z a-z 0-9 . _ : - as Luma gave it at creation.",
        )
