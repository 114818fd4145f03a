"""The use cases. Every surface - REST, MCP, command line - reaches data through here alone."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial

from service import listing, migrating, store
from service.changes import Changes
from service.db import Database
from service.errors import InvalidInput, NotFound, StoreUnavailable, UpstreamError
from service.flights import Absences, Flights
from service.generation import (
    Generation,
    Observation,
    Source,
    has_dead_assets,
    is_stale,
    is_usable_id,
)
from service.luma import Upstream, ask_all
from service.observe import Receipt, observe, record

PATIENCE = timedelta(seconds=5)
"""For how long a generation that somebody waits for may be quiet before Luma is asked."""


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
        upstreams: those that we have a key for.
        stale_after: how long an open generation may be quiet before it is refreshed.
        clock: tells the time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        upstreams: Sequence[Upstream],
        *,
        stale_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._upstreams: Mapping[str, Upstream] = {u.name: u for u in upstreams}
        self._stale_after = stale_after
        self._clock = clock
        self._flights: Flights[Generation] = Flights()
        self._absences = Absences(clock)
        self._changes = Changes(database.version)

    async def close(self) -> None:
        """Let go of what is under way; the database stays open."""
        await self._flights.close()
        await self._changes.close()

    async def receive(self, body: bytes) -> Receipt:
        """Take in a callback. When this returns, it is on disk.

        Raises:
            StoreUnavailable: it is not; Luma should try again.
        """
        receipt = await self._database.write(record, body, self._clock())
        if receipt.generation_id:
            self._changes.tell(receipt.generation_id)
        return receipt

    async def observe(self, seen: Observation) -> Generation:
        """Take in what Luma told us otherwise; answers the row as it is now."""
        generation, _ = await self._database.write(observe, seen, self._clock())
        self._changes.tell(seen.id)
        return generation

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
            while not answer.generation.terminal and (left := deadline - clock()) > 0:
                await _set_within(changed, min(left, quiet.total_seconds()))
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

    async def require_ready(self) -> None:
        """Whether the database answers and is migrated.

        Raises:
            StoreUnavailable: it does not, or is not.
        """
        revision = await self._database.read(migrating.revision)
        if revision != migrating.head():
            raise StoreUnavailable(
                f"The database is at revision {revision}, this version needs {migrating.head()}.",
                "Run `luma-tracker db upgrade`, or start the service anew.",
            )

    async def _lookup(self, generation_id: str, *, fresh: bool, quiet: timedelta) -> Answer:
        _require_usable(generation_id)
        row = await self._database.read(store.find, generation_id)
        if row is None:
            return self._answer(await self._unknown(generation_id, fresh=fresh), Served.MISS)
        if row.upstream not in self._upstreams:
            return self._answer(row, Served.HIT)
        if fresh or has_dead_assets(row, self._clock()):
            return self._answer(await self._known(row), Served.STALE)
        if is_stale(row, self._clock(), quiet):
            self._flights.launch(generation_id, partial(self._fetch, generation_id, row))
            return self._answer(row, Served.STALE)
        return self._answer(row, Served.HIT)

    async def _unknown(self, generation_id: str, *, fresh: bool) -> Generation:
        if not fresh:
            self._absences.check(generation_id)
        return await self._flights.join(generation_id, partial(self._fetch, generation_id))

    async def _known(self, row: Generation) -> Generation:
        """The row as Luma has it now, or as it was if Luma cannot tell."""
        try:
            return await self._flights.join(row.id, partial(self._fetch, row.id, row))
        except (UpstreamError, NotFound, StoreUnavailable):
            return row

    async def _fetch(self, generation_id: str, row: Generation | None = None) -> Generation:
        upstreams = [self._upstreams[row.upstream]] if row else list(self._upstreams.values())
        try:
            seen = await ask_all(upstreams, generation_id)
        except NotFound as absence:
            if row is None:
                self._absences.add(generation_id, absence)
                raise
            seen = Observation(id=row.id, upstream=row.upstream, source=Source.FETCH, gone=True)
        return await self.observe(replace(seen, asked_at_rev=row.rev if row else 0))

    def _answer(self, generation: Generation, served: Served) -> Answer:
        return Answer(generation, served, self._clock() - generation.heard_at)


def _require_usable(generation_id: str) -> None:
    if not is_usable_id(generation_id):
        raise InvalidInput(
            "generation_id",
            "This cannot be the id of a generation.",
            "An id is 1-128 characters of A-Z a-z 0-9 . _ : - as Luma gave it at creation.",
        )


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
