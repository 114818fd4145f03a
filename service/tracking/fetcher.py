"""Asking Luma, for people and for ourselves: each id at most once at a time, into the one door."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from service.domain.generation import Generation, Observation, Source
from service.errors import NotFound, StoreUnavailable, UpstreamError, UpstreamNonsense
from service.logs import log
from service.luma import Purpose, Upstream, ask_all
from service.metrics import OVERRULED, REPAIRS
from service.storage import generations
from service.storage.engine import Database
from service.tracking.account_check import AccountCheck
from service.tracking.changes import Changes
from service.tracking.observe import ReceivedObservation, observe
from service.tracking.single_flight import NegativeCache, SingleFlight

_SOURCES = {
    Purpose.READ: Source.FETCH,
    Purpose.VERIFY: Source.FETCH,
    Purpose.RECONCILE: Source.RECONCILE,
}


class Fetcher:
    """Fetches generations and stores what it learns.

    Args:
        upstreams: those that we have a key for.
        changes: told of every row that was learnt of.
        clock: tells the time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        upstreams: Sequence[Upstream],
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._upstreams: Mapping[str, Upstream] = {u.name: u for u in upstreams}
        self._changes = changes
        self._clock = clock
        self._flights: SingleFlight[Generation | None] = SingleFlight()
        self._absences = NegativeCache(clock)
        self._doubts = {name: AccountCheck(name, time.monotonic) for name in self._upstreams}

    async def close(self) -> None:
        """Let go of what is under way."""
        await self._flights.close()

    def can_ask(self, upstream: str) -> bool:
        """Whether we have a key for it."""
        return upstream in self._upstreams

    @property
    def upstreams(self) -> list[str]:
        """Those that we have a key for."""
        return list(self._upstreams)

    async def room(self, purpose: Purpose) -> dict[str, int]:
        """How many such questions each upstream takes just now, of those that take any."""
        for upstream in self._upstreams.values():
            await upstream.gate.refresh()
        rooms = {name: upstream.gate.room(purpose) for name, upstream in self._upstreams.items()}
        allowed = {name: self._doubts[name].allowed(room) for name, room in rooms.items() if room}
        return {name: room for name, room in allowed.items() if room}

    @property
    def warnings(self) -> list[str]:
        """What is wrong with an upstream that only people can put right."""
        return [doubts.warning for doubts in self._doubts.values() if doubts.exist]

    async def fetch_unknown(self, generation_id: str, *, fresh: bool) -> None:
        """Fetch and store what is not stored; every upstream is asked at once.

        Raises:
            NotFound: none knows it, now or (unless `fresh`) a few seconds ago.
            UpstreamError: one could not tell, and none knows it.
        """
        if not fresh:
            self._absences.check(generation_id)
        try:
            await self._flights.join(generation_id, partial(self._first, generation_id))
        except (NotFound, UpstreamError):
            if await self._row(generation_id) is None:  # else a callback told us meanwhile
                raise

    async def refresh(self, generation_id: str) -> None:
        """Fetch what is stored; a failure leaves the row as it was."""
        with suppress(UpstreamError, StoreUnavailable):
            await self._flights.join(generation_id, partial(self._refresh, generation_id))

    def refresh_in_background(self, generation_id: str) -> None:
        """Fetch what is stored without waiting for it."""
        self._flights.launch(generation_id, partial(self._refresh, generation_id))

    async def check(self, row: Generation) -> None:
        """Ask about a row because nobody told us: to confirm a claim, or because it is quiet.

        Raises:
            UpstreamError: Luma could not tell.
            StoreUnavailable: we could not keep what it told.
        """
        purpose = Purpose.VERIFY if row.terminal else Purpose.RECONCILE
        after = await self._flights.join(row.id, partial(self._again, row, purpose))
        if after and after.terminal and not row.terminal:
            REPAIRS.inc()
            log.info("learnt by asking", generation_id=row.id, state=after.state)

    async def _first(self, generation_id: str) -> Generation:
        try:
            seen = await ask_all(list(self._upstreams.values()), generation_id)
        except NotFound as absence:
            self._absences.add(generation_id, absence)
            raise
        return await self._observe(seen._replace(asked_at_rev=0))

    async def _refresh(self, generation_id: str) -> Generation | None:
        row = await self._row(generation_id)
        return row and await self._again(row, Purpose.READ)

    async def _row(self, generation_id: str) -> Generation | None:
        return await self._database.read(generations.find, generation_id)

    async def _again(self, row: Generation, purpose: Purpose) -> Generation:
        source = _SOURCES[purpose]
        doubts = self._doubts[row.upstream]
        try:
            seen = await self._upstreams[row.upstream].fetch(row.id, purpose)
            doubts.clear()
        except NotFound:
            seen = await self._elsewhere(row) or self._missing(row)
        checked = purpose is not Purpose.READ
        after = await self._observe(seen._replace(source=source, asked_at_rev=row.rev), checked)
        if row.terminal and not row.verified and after.state != row.state:
            OVERRULED.inc()
            log.warning("overruled", generation_id=row.id, claimed=row.state, state=after.state)
        return after

    def _missing(self, row: Generation) -> Observation:
        """That the upstream does not know it, if that can be believed.

        Raises:
            UpstreamNonsense: it knows hardly any of those that it has confirmed.
        """
        doubts = self._doubts[row.upstream]
        if row.verified and doubts.add(row.id):
            log.error("upstream_doubted", upstream=row.upstream, warning=doubts.warning)
        if doubts.exist:
            raise UpstreamNonsense(row.upstream, doubts.warning)
        return Observation(id=row.id, upstream=row.upstream, source=Source.FETCH, gone=True)

    async def _elsewhere(self, row: Generation) -> Observation | None:
        """What the other upstreams say of a row of which only a callback has said whose it is."""
        others = [u for u in self._upstreams.values() if u.name != row.upstream]
        if row.verified or not others:
            return None
        try:
            return await ask_all(others, row.id)
        except (NotFound, UpstreamError):
            return None

    async def _observe(self, seen: Observation, checked: bool = False) -> Generation:
        heard = ReceivedObservation(seen, self._clock(), checked=checked)
        generation, _ = await self._database.write_all(observe, heard)
        self._changes.notify(seen.id)
        return generation
