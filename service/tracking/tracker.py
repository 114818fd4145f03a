"""The use cases. Every surface - REST, MCP, command line - reaches data through here alone."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from service.domain.generation import (
    Generation,
    Outcome,
    good_until,
    has_dead_assets,
    is_ahead,
    is_stale,
    is_usable_id,
)
from service.errors import (
    InvalidInput,
    NotFound,
    StoreUnavailable,
    TrackerError,
    UpstreamUnavailable,
)
from service.logs import log
from service.metrics import CALLBACKS, LOOKUPS
from service.storage import events, generations, listing
from service.storage.engine import Database
from service.storage.representation import Representation, Representations
from service.storage.shape import Shown
from service.tracking.answer import Answer, Served
from service.tracking.cache import Cache, Reading
from service.tracking.callback_tokens import Grant
from service.tracking.changes import Changes, set_within
from service.tracking.deliveries import Deliveries
from service.tracking.fetcher import Fetcher
from service.tracking.history import History
from service.tracking.observe import Callback
from service.tracking.observe import Receipt as Receipt  # noqa: PLC0414 - which surfaces get from us
from service.tracking.observe import receive as take_callbacks
from service.tracking.readiness import Readiness

PATIENCE = timedelta(seconds=5)
"""For how long a generation that somebody waits for may be quiet before Luma is asked."""

_COUNTED = {name: CALLBACKS.labels(name) for name in (*Outcome, "unreadable", "unavailable")}


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
        changes: wakes those who wait.
        cache: what was read lately.
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
        self._representations = Representations(database)
        self.history = History(database, changes, cache)
        self.deliveries = Deliveries(database, changes, clock)
        self.readiness = Readiness(database, clock)
        self._stale_after = stale_after
        self._clock = clock
        self._released = False

    def release(self) -> None:
        """We are about to stop: whoever waits gets an answer now."""
        self._released = True
        self.history.release()
        self._changes.wake_all()

    def receive(self, body: bytes, grant: Grant) -> asyncio.Future[Receipt]:
        """Take in a callback. When the future is done, it is on disk.

        Raises, when it is awaited:
            Forbidden: the token is for another generation.
            StoreUnavailable: it is not; Luma should try again.
        """
        callback = Callback(body, grant, self._clock())
        receiving = self._database.submit(take_callbacks, callback, len(body))
        receiving.add_done_callback(self._received)
        return receiving

    def _received(self, receiving: asyncio.Future[Receipt]) -> None:
        if receiving.cancelled():  # who waited for it has gone
            return
        if error := receiving.exception():
            if isinstance(error, StoreUnavailable):
                _COUNTED["unavailable"].inc()
            return
        receipt = receiving.result()
        _COUNTED["unreadable" if receipt.unreadable else receipt.outcome].inc()
        if receipt.outcome is Outcome.KEPT:
            log.warning(
                "kept", delivery_id=receipt.delivery_id, generation_id=receipt.generation_id
            )
        if receipt.generation_id:
            self._changes.tell(receipt.generation_id)

    def known(self, generation_id: str) -> Answer | None:
        """What `lookup` would answer, if that can be told at once and nobody need be asked."""
        shown = self._cache.get(generation_id) or self._glimpsed(generation_id)
        if shown is None:
            return None
        return self._still_good(shown)

    async def stored(self, generation_id: str) -> Answer | None:
        """The same, where the database may be asked.

        Raises:
            StoreUnavailable: it did not answer.
        """
        if (answer := self.known(generation_id)) or not is_usable_id(generation_id):
            return answer
        with self._cache.reading(generation_id) as reading:
            row = await self._representations.find(generation_id)
            if row is None:
                return None
            return self._still_good(self._keep(row.shown(self._good_until(row)), reading))

    def _still_good(self, shown: Shown) -> Answer | None:
        now = self._clock()
        if shown.good_until is not None and (
            shown.good_until <= now or is_ahead(shown.heard_at, now)
        ):
            return None
        _HITS.inc()
        return Answer(shown, Served.HIT, now - shown.heard_at)

    async def lookup(self, generation_id: str, *, fresh: bool = False) -> Answer:
        """What we know of a generation; Luma is asked only if it is unknown, or `fresh`.

        A row that has been quiet too long is answered at once and refreshed behind; one whose
        asset URLs have died is fetched first. Once a row is stored, no failure of an upstream
        fails the read.

        Raises:
            InvalidInput: Luma's ids do not look like that.
            NotFound: nobody knows it.
            UpstreamError: it is not stored, and an upstream could not tell us.
            StoreUnavailable: the database did not answer.
        """
        _require_usable(generation_id)
        if not fresh and (answer := await self.stored(generation_id)):
            return answer
        return await self._lookup(generation_id, fresh=fresh, quiet=self._stale_after)

    async def wait(self, generation_id: str, seconds: float, *, fresh: bool = False) -> Answer:
        """As `lookup`, but answers as soon as the generation is terminal, or after `seconds`.

        Luma, or a callback, may need a moment to show a new generation: an id that nobody knows
        yet is asked for again every few seconds, until the time is up.
        """
        _require_usable(generation_id)
        if not fresh and (answer := self.known(generation_id)) and answer.shown.final:
            return answer
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        quiet = min(self._stale_after, PATIENCE)
        with self._changes.expect(generation_id) as changed:
            found = await self._attempt(generation_id, fresh=fresh, quiet=quiet)
            while self._worth_waiting(found) and (left := deadline - clock()) > 0:
                await set_within(changed, min(left, quiet.total_seconds()))
                changed.clear()
                found = await self._attempt(generation_id, fresh=False, quiet=quiet)
        if isinstance(found, TrackerError):
            raise found
        return found

    async def _attempt(
        self, generation_id: str, *, fresh: bool, quiet: timedelta
    ) -> Answer | NotFound | UpstreamUnavailable:
        """What a lookup answers, or why there is nothing yet."""
        try:
            return await self._lookup(generation_id, fresh=fresh, quiet=quiet)
        except (NotFound, UpstreamUnavailable) as error:
            return error

    @property
    def warnings(self) -> list[str]:
        """What is wrong, though we go on."""
        return self._fetcher.warnings

    async def page(self, query: listing.Query) -> listing.Page:
        """A page of what is stored; costs no request to Luma."""
        self._changes.follow()
        page = await listing.page(self._database, query)
        for generation in page.items:
            self._cache.seen(generation.id, generation.rev)
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
            self._cache.seen(generation_id, event.rev)
        return found

    async def _lookup(self, generation_id: str, *, fresh: bool, quiet: timedelta) -> Answer:
        row, shown = await self._read(generation_id)
        if row is None or shown is None:
            found = await self._fetcher.unknown(generation_id, fresh=fresh)
            return self._answer(self._shown(found), Served.MISS)
        if not self._fetcher.can_ask(row.upstream):
            return self._answer(shown, Served.HIT)
        if fresh or has_dead_assets(row, self._clock()):
            return self._answer(self._shown(await self._fetcher.known(row)), Served.STALE)
        if is_stale(row, self._clock(), quiet):
            self._fetcher.behind(row)
            return self._answer(shown, Served.STALE)
        return self._answer(shown, Served.HIT)

    async def _read(self, generation_id: str) -> tuple[Generation, Shown] | tuple[None, None]:
        """The row, and how it is shown, which is kept."""
        with self._cache.reading(generation_id) as reading:
            row = await self._database.read(generations.find, generation_id)
            return (row, self._keep(self._shown(row), reading)) if row else (None, None)

    def _glimpsed(self, generation_id: str) -> Shown | None:
        """The same without waiting, where the database is so near."""
        if not is_usable_id(generation_id):
            return None
        row = self._representations.at_once(generation_id)
        return self._keep(row.shown(self._good_until(row))) if row else None

    def _keep(self, shown: Shown, reading: Reading | None = None) -> Shown:
        self._cache.keep(shown, reading)
        self._changes.follow()
        return shown

    def _shown(self, row: Generation) -> Shown:
        return Shown.of(row, self._good_until(row))

    def _good_until(self, row: Generation | Representation) -> datetime | None:
        return good_until(row, self._stale_after) if self._fetcher.can_ask(row.upstream) else None

    def _worth_waiting(self, found: Answer | TrackerError) -> bool:
        final = isinstance(found, Answer) and found.shown.final
        return not (self._released or final)

    def _answer(self, shown: Shown, served: Served) -> Answer:
        _COUNTERS[served].inc()
        return Answer(shown, served, self._clock() - shown.heard_at)


def _require_usable(generation_id: str) -> None:
    if not is_usable_id(generation_id):
        raise InvalidInput(
            "generation_id",
            "This cannot be the id of a generation.",
            "An id is 1-128 characters of A-Z a-z 0-9 . _ : - as Luma gave it at creation.",
        )
