"""Fetches generations from Luma, each id at most once at a time, and stores what Luma says."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from service.domain.generation import Generation, Observation, Source
from service.domain.request_budget import Purpose
from service.errors import NotFound, StoreUnavailable, UpstreamError, UpstreamNonsense
from service.logs import log
from service.luma import Upstream, ask_all
from service.metrics import OVERRULED, REPAIRS
from service.storage import generations
from service.storage.engine import Database
from service.tracking.account_check import AccountCheck
from service.tracking.changes import Changes
from service.tracking.observe import ReceivedObservation, observe
from service.tracking.single_flight import NegativeCache, SingleFlight


class Fetcher:
    """Fetches generations and stores what it learns.

    Args:
        upstreams: those that we have a key for.
        changes: notified of every row that was stored.
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
        self._absent = NegativeCache(clock)
        self._account_checks = {u.name: AccountCheck(u.name, time.monotonic) for u in upstreams}

    async def close(self) -> None:
        """Cancel the fetches that are under way."""
        await self._flights.close()

    def can_ask(self, upstream: str) -> bool:
        """Whether we have a key for it."""
        return upstream in self._upstreams

    @property
    def upstreams(self) -> list[str]:
        """Those that we have a key for."""
        return list(self._upstreams)

    @property
    def warnings(self) -> list[str]:
        """What is wrong with an upstream that only people can put right."""
        return [check.warning for check in self._account_checks.values() if check.failed]

    async def available(self, purpose: Purpose) -> dict[str, int]:
        """How many such requests may go to each upstream now; without those that take none."""
        found = {}
        for name, upstream in self._upstreams.items():
            await upstream.admission.refresh()
            admitted = upstream.admission.available(purpose)
            if allowed := admitted and self._account_checks[name].allowed(admitted):
                found[name] = allowed
        return found

    async def fetch_unknown(self, generation_id: str, *, fresh: bool) -> None:
        """Fetch and store what is not stored; every upstream is asked at once.

        Raises:
            NotFound: none knows it, now or (unless `fresh`) a few seconds ago.
            UpstreamError: one could not tell, and none knows it.
        """
        if not fresh:
            self._absent.check(generation_id)
        try:
            await self._flights.join(generation_id, partial(self._fetch_first, generation_id))
        except (NotFound, UpstreamError):
            if await self._row(generation_id) is None:  # else a callback told us meanwhile
                raise

    async def refresh(self, generation_id: str) -> None:
        """Fetch what is stored, for somebody who waits; a failure leaves the row as it was."""
        fetch = partial(self._fetch_stored, generation_id, Purpose.READ)
        with suppress(UpstreamError, StoreUnavailable):
            await self._flights.join(generation_id, fetch)

    def refresh_in_background(self, generation_id: str) -> None:
        """Fetch what is stored; nobody waits for it, so it takes nobody's share of the budget."""
        fetch = partial(self._fetch_stored, generation_id, Purpose.RECONCILE)
        self._flights.launch(generation_id, fetch)

    async def check(self, row: Generation, purpose: Purpose) -> None:
        """Ask about a row because it is due: to confirm a claim, or because it is quiet.

        Raises:
            UpstreamError: Luma could not tell.
            StoreUnavailable: what it told could not be stored.
        """
        after = await self._flights.join(row.id, partial(self._fetch_due, row, purpose))
        if after and after.terminal and not row.terminal:
            REPAIRS.inc()
            log.info("final_state_found", generation_id=row.id, state=after.state)

    async def _fetch_first(self, generation_id: str) -> Generation:
        try:
            seen = await ask_all(list(self._upstreams.values()), generation_id, Purpose.READ)
        except NotFound as absence:
            self._absent.add(generation_id, absence)
            raise
        return await self._observe(seen._replace(asked_at_rev=0))

    async def _fetch_stored(self, generation_id: str, purpose: Purpose) -> Generation | None:
        row = await self._row(generation_id)
        return row and await self._observe(await self._ask(row, purpose))

    async def _fetch_due(self, row: Generation, purpose: Purpose) -> Generation:
        seen = await self._ask(row, purpose)
        source = Source.RECONCILE if purpose is Purpose.RECONCILE else Source.FETCH
        after = await self._observe(seen._replace(source=source), due=True)
        if row.terminal and not row.verified and after.state != row.state:
            OVERRULED.inc()
            told = {"claimed": row.state, "state": after.state}
            log.warning("claim_overruled", generation_id=row.id, **told)
        return after

    async def _row(self, generation_id: str) -> Generation | None:
        return await self._database.read(generations.find, generation_id)

    async def _ask(self, row: Generation, purpose: Purpose) -> Observation:
        """What Luma says of a row."""
        try:
            seen = await self._upstreams[row.upstream].fetch(row.id, purpose)
            self._account_checks[row.upstream].succeeded()
        except NotFound:
            seen = await self._elsewhere(row, purpose) or self._missing(row)
        return seen._replace(asked_at_rev=row.rev, asked_at_state=row.state)

    def _missing(self, row: Generation) -> Observation:
        """That the upstream does not know it, if that can be believed.

        Raises:
            UpstreamNonsense: it knows hardly any of those that it has confirmed.
        """
        check = self._account_checks[row.upstream]
        if row.verified and check.missed(row.id):
            log.error("account_check_failed", upstream=row.upstream, warning=check.warning)
        if check.failed:
            raise UpstreamNonsense(row.upstream, check.warning)
        return Observation(id=row.id, upstream=row.upstream, source=Source.FETCH, gone=True)

    async def _elsewhere(self, row: Generation, purpose: Purpose) -> Observation | None:
        """What the other upstreams say of a row of which only a callback has said whose it is."""
        others = [u for u in self._upstreams.values() if u.name != row.upstream]
        if row.verified or not others:
            return None
        try:
            return await ask_all(others, row.id, purpose)
        except (NotFound, UpstreamError):
            return None

    async def _observe(self, seen: Observation, *, due: bool = False) -> Generation:
        received = ReceivedObservation(seen, self._clock(), due=due)
        generation, _ = await self._database.write_all(observe, received)
        self._changes.notify(seen.id)
        return generation
