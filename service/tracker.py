"""The use cases. Every surface - REST, MCP, command line - reaches data through here alone."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from service import inbox, listing, migrating, store
from service.changes import Changes, set_within
from service.db import Database
from service.errors import InvalidInput, NotFound, StoreUnavailable
from service.fetching import Fetcher
from service.generation import Generation, Outcome, has_dead_assets, is_stale, is_usable_id
from service.history import History
from service.logs import log
from service.luma.reading import clean_text, shown
from service.metrics import CALLBACKS, LOOKUPS
from service.observe import Callback, Receipt, refold
from service.observe import receive as take_callbacks
from service.tokens import Grant

PATIENCE = timedelta(seconds=5)
"""For how long a generation that somebody waits for may be quiet before Luma is asked."""

_COUNTED = {name: CALLBACKS.labels(name) for name in (*Outcome, "unreadable", "unavailable")}

LONGEST_LAG = timedelta(seconds=60)
"""A delivery that waits longer to be folded is a sign that something is wrong."""


class Served(Enum):
    """Where an answer came from."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Answer:
    """A generation, and how we came by it."""

    generation: Generation
    served: Served
    age: timedelta
    """Time since Luma last told us anything of it."""


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


class Tracker:
    """Knows every generation that Luma told us of.

    Args:
        database: open, and migrated.
        fetcher: asks Luma.
        changes: wakes those who wait.
        stale_after: how long an open generation may be quiet before it is refreshed.
        clock: tells the time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        fetcher: Fetcher,
        changes: Changes,
        *,
        stale_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._fetcher = fetcher
        self._changes = changes
        self.history = History(database, changes)
        self._stale_after = stale_after
        self._clock = clock
        self._released = False

    def release(self) -> None:
        """We are about to stop: whoever waits gets an answer now."""
        self._released = True
        self.history.release()
        self._changes.wake_all()

    async def receive(self, body: bytes, grant: Grant) -> Receipt:
        """Take in a callback. When this returns, it is on disk.

        Raises:
            Forbidden: the token is for another generation.
            StoreUnavailable: it is not; Luma should try again.
        """
        try:
            receipt = await self._database.write_all(
                take_callbacks, Callback(body, grant, self._clock())
            )
        except StoreUnavailable:
            _COUNTED["unavailable"].inc()
            raise
        _COUNTED["unreadable" if receipt.unreadable else receipt.outcome].inc()
        if receipt.outcome is Outcome.KEPT:
            log.warning(
                "kept", delivery_id=receipt.delivery_id, generation_id=receipt.generation_id
            )
        if receipt.generation_id:
            self._changes.tell(receipt.generation_id)
        return receipt

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
        return await self._lookup(generation_id, fresh=fresh, quiet=self._stale_after)

    async def wait(self, generation_id: str, seconds: float, *, fresh: bool = False) -> Answer:
        """As `lookup`, but answers as soon as the generation is terminal, or after `seconds`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        quiet = min(self._stale_after, PATIENCE)
        with self._changes.expect(generation_id) as changed:
            answer = await self._lookup(generation_id, fresh=fresh, quiet=quiet)
            while self._worth_waiting(answer) and (left := deadline - clock()) > 0:
                await set_within(changed, min(left, quiet.total_seconds()))
                changed.clear()
                answer = await self._lookup(generation_id, fresh=False, quiet=quiet)
        return answer

    async def page(self, query: listing.Query) -> listing.Page:
        """A page of what is stored; costs no request to Luma."""
        return await self._database.read(listing.page, query)

    async def events(self, generation_id: str, *, after: int, limit: int) -> list[store.Event]:
        """The history of a generation that is stored, oldest first.

        Raises:
            NotFound: it is not stored.
        """
        _require_usable(generation_id)
        if await self._database.read(store.find, generation_id) is None:
            raise NotFound(
                f"No history is stored for {generation_id}.", "Look the generation up first."
            )
        return await self._database.read(store.events_of, generation_id, after=after, limit=limit)

    async def deliveries(
        self,
        *,
        outcomes: tuple[str, ...],
        generation_ids: tuple[str, ...],
        before: str | None,
        limit: int,
    ) -> list[inbox.Delivery]:
        """The inbox, newest first."""
        return await self._database.read(
            inbox.deliveries,
            outcomes=outcomes,
            generation_ids=tuple(clean_text(id_) for id_ in generation_ids),
            before=before and clean_text(before),
            limit=limit,
        )

    async def delivery(self, delivery_id: str) -> tuple[inbox.Delivery, Any]:
        """One delivery, and its body without our secrets: as parsed JSON, else as text.

        Raises:
            NotFound: there is none of that id.
        """
        delivery_id = clean_text(delivery_id)
        found = await self._database.read(inbox.find_delivery, delivery_id)
        body = await self._database.read(inbox.body_of, delivery_id)
        if found is None or body is None:
            raise _no_delivery(delivery_id)
        return found, shown(body)

    async def kept(self) -> list[str]:
        """Up to 1,000 deliveries that are not folded yet, oldest first."""
        return await self._database.read(inbox.kept, 1000)

    async def replay(self, delivery_id: str) -> Receipt:
        """Fold a delivery again.

        Raises:
            NotFound: there is none of that id.
        """
        receipt = await self._database.write(refold, clean_text(delivery_id), self._clock())
        if receipt is None:
            raise _no_delivery(delivery_id)
        if receipt.generation_id:
            self._changes.tell(receipt.generation_id)
        return receipt

    async def require_ready(self) -> None:
        """Whether the database answers and is migrated, and all that could be folded is.

        Raises:
            StoreUnavailable: it does not, or is not.
        """
        revision = await self._database.read(migrating.revision)
        if revision != migrating.head():
            raise StoreUnavailable(
                f"The database is at revision {revision}, this version needs {migrating.head()}.",
                "Run `luma-tracker db upgrade`, or start the service anew.",
            )
        oldest = await self._database.read(inbox.oldest_unfolded)
        if oldest and self._clock() - oldest > LONGEST_LAG:
            raise StoreUnavailable(
                f"A delivery of {oldest:%Y-%m-%d %H:%M:%S} UTC could not be folded yet.",
                "GET /v1/deliveries?outcome=kept says why.",
            )

    async def _lookup(self, generation_id: str, *, fresh: bool, quiet: timedelta) -> Answer:
        _require_usable(generation_id)
        row = await self._database.read(store.find, generation_id)
        if row is None:
            found = await self._fetcher.unknown(generation_id, fresh=fresh)
            return self._answer(found, Served.MISS)
        if not self._fetcher.can_ask(row.upstream):
            return self._answer(row, Served.HIT)
        if fresh or has_dead_assets(row, self._clock()):
            return self._answer(await self._fetcher.known(row), Served.STALE)
        if is_stale(row, self._clock(), quiet):
            self._fetcher.behind(row)
            return self._answer(row, Served.STALE)
        return self._answer(row, Served.HIT)

    def _worth_waiting(self, answer: Answer) -> bool:
        return not (self._released or answer.generation.terminal or answer.generation.gone_at)

    def _answer(self, generation: Generation, served: Served) -> Answer:
        LOOKUPS.labels(served.value).inc()
        return Answer(generation, served, self._clock() - generation.heard_at)


def _no_delivery(delivery_id: str) -> NotFound:
    return NotFound(
        f"There is no delivery {delivery_id[:64]}.", "GET /v1/deliveries lists those there are."
    )


def _require_usable(generation_id: str) -> None:
    if not is_usable_id(generation_id):
        raise InvalidInput(
            "generation_id",
            "This cannot be the id of a generation.",
            "An id is 1-128 characters of A-Z a-z 0-9 . _ : - as Luma gave it at creation.",
        )
