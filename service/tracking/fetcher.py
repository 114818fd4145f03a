"""Fetches generations from Luma, at most once per id at a time, and stores the results."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from service.domain.generation import Generation, Observation, Source, is_polled
from service.domain.request_budget import Purpose
from service.errors import NotFound, StoreUnavailable, UpstreamError, UpstreamNonsense
from service.logs import log
from service.luma import Upstream, fetch_from_any
from service.metrics import OVERRULED, REPAIRS
from service.storage import generations
from service.storage.engine import Database
from service.tracking.account_check import AccountCheck
from service.tracking.changes import Changes
from service.tracking.observe import ReceivedObservation, observe
from service.tracking.single_flight import NegativeCache, SingleFlight


class Fetcher:
    """Fetches generations and stores the results.

    Args:
        database: open, and migrated.
        upstreams: the upstreams for which an API key is set.
        changes: notified of every row that is stored.
        clock: returns the current time, aware and in UTC.
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
        self._single_flight: SingleFlight[Generation | None] = SingleFlight()
        self._negative_cache = NegativeCache(clock)
        self._account_checks = {u.name: AccountCheck(u.name, time.monotonic) for u in upstreams}

    async def close(self) -> None:
        """Cancel all running fetches."""
        await self._single_flight.close()

    def has_key_for(self, upstream: str) -> bool:
        """Return whether an API key is set for the upstream."""
        return upstream in self._upstreams

    @property
    def upstreams(self) -> list[str]:
        """The names of the upstreams for which an API key is set."""
        return list(self._upstreams)

    @property
    def warnings(self) -> list[str]:
        """Problems with upstreams that need action by an operator, one sentence each."""
        return [check.warning for check in self._account_checks.values() if check.failed]

    def per_second(self, upstream: str) -> float:
        """Return the rate limit of an upstream, in requests per second."""
        return self._upstreams[upstream].admission.rate.per_second

    async def available(self, purpose: Purpose) -> dict[str, int]:
        """Return how many requests for this purpose each upstream can take now.

        Upstreams that cannot take any are left out.
        """
        available = {}
        for name, upstream in self._upstreams.items():
            await upstream.admission.refresh()
            admitted = upstream.admission.available(purpose)
            if allowed := admitted and self._account_checks[name].allowed(admitted):
                available[name] = allowed
        return available

    async def fetch_unknown(
        self, generation_id: str, *, fresh: bool, upstream: str | None = None
    ) -> None:
        """Fetch a generation that is not stored from all upstreams concurrently, and store it.

        Args:
            generation_id: its id.
            fresh: whether to fetch even if the negative cache says that the id is unknown.
            upstream: the only one to ask; None: all.

        Raises:
            NotFound: no upstream knows it, now or (unless `fresh`) up to 5 seconds ago.
            UpstreamError: no upstream returned it, and at least one request failed.
        """
        asks_all = upstream is None or self._single_flight.is_running(generation_id)
        key = generation_id if asks_all else f"{upstream}/{generation_id}"
        if not fresh:
            self._negative_cache.check(key)
        fetch = partial(self._fetch_and_insert, generation_id, key, upstream)
        try:
            await self._single_flight.join(key, fetch)
        except (NotFound, UpstreamError):
            if await self._read_row(generation_id) is None:  # a callback may have stored it
                raise

    async def refresh(self, generation_id: str) -> bool:
        """Refresh a stored row for a client that waits; a failed fetch leaves it unchanged.

        Returns:
            Whether Luma answered, and the answer was stored.
        """
        fetch = partial(self._fetch_and_update, generation_id)
        with suppress(UpstreamError, StoreUnavailable):
            return await self._single_flight.join(generation_id, fetch) is not None
        return False

    def refresh_in_background(self, generation_id: str) -> None:
        """Start to refresh a stored row; uses the budget share of the purpose RECONCILE."""
        fetch = partial(self._fetch_and_update_if_ample, generation_id)
        self._single_flight.launch(generation_id, fetch)

    async def check(self, row: Generation, purpose: Purpose) -> None:
        """Check a row that is due: to verify a claim, or because nothing was reported for long.

        Raises:
            UpstreamError: the fetch failed.
            StoreUnavailable: the result could not be stored.
        """
        after = await self._single_flight.join(row.id, partial(self._fetch_and_check, row, purpose))
        if after and after.terminal and not row.terminal:
            REPAIRS.inc()
            log.info("final_state_found", generation_id=row.id, state=after.state)

    async def _fetch_and_insert(
        self, generation_id: str, key: str, upstream: str | None
    ) -> Generation:
        asked = [u for u in self._upstreams.values() if upstream in (None, u.name)]
        try:
            observation = await fetch_from_any(asked, generation_id, Purpose.READ)
        except NotFound as error:
            self._negative_cache.add(key, error)
            raise
        return await self._store(observation._replace(asked_at_rev=0))

    async def _fetch_and_update(self, generation_id: str) -> Generation | None:
        row = await self._read_row(generation_id)
        return row and await self._store(await self._fetch(row, Purpose.READ))

    async def _fetch_and_update_if_ample(self, generation_id: str) -> Generation | None:
        """Update a row, unless the schedule needs the requests for the rows that gain most.

        The schedule of an upstream without callbacks asks about each open row anyway. So lookups
        may take a request only as long as half of the rate limit is unused.
        """
        row = await self._read_row(generation_id)
        if row is None:
            return None
        admission = self._upstreams[row.upstream].admission
        scarce = 2 * admission.available(Purpose.RECONCILE) < admission.rate.requests
        if is_polled(row.upstream) and not row.terminal and scarce:
            return row
        return await self._store(await self._fetch(row, Purpose.RECONCILE))

    async def _fetch_and_check(self, row: Generation, purpose: Purpose) -> Generation:
        observation = await self._fetch(row, purpose)
        source = Source.RECONCILE if purpose is Purpose.RECONCILE else Source.FETCH
        after = await self._store(observation._replace(source=source), scheduled=True)
        if row.terminal and not row.verified and after.state != row.state:
            OVERRULED.inc()
            log.warning(
                "claim_overruled", generation_id=row.id, claimed=row.state, state=after.state
            )
        return after

    async def _read_row(self, generation_id: str) -> Generation | None:
        return await self._database.read(generations.find, generation_id)

    async def _fetch(self, row: Generation, purpose: Purpose) -> Observation:
        """Fetch a stored generation from its upstream, or from another if the row is a claim."""
        try:
            observation = await self._upstreams[row.upstream].fetch(row.id, purpose)
            self._account_checks[row.upstream].record_known()
        except NotFound:
            observation = await self._fetch_elsewhere(row, purpose) or self._not_found(row)
        return observation._replace(asked_at_rev=row.rev, asked_at_state=row.state)

    def _not_found(self, row: Generation) -> Observation:
        """Return the observation that the upstream does not know the generation.

        Raises:
            UpstreamNonsense: the account check fails, so that the 404 proves nothing.
        """
        check = self._account_checks[row.upstream]
        if row.verified and check.record_unknown(row.id):
            log.error("account_check_failed", upstream=row.upstream, warning=check.warning)
        if check.failed:
            raise UpstreamNonsense(row.upstream, check.warning)
        return Observation(id=row.id, upstream=row.upstream, source=Source.FETCH, gone=True)

    async def _fetch_elsewhere(self, row: Generation, purpose: Purpose) -> Observation | None:
        """Fetch an unverified row from the other upstreams; its own is only a callback's claim."""
        others = [u for u in self._upstreams.values() if u.name != row.upstream]
        if row.verified or not others:
            return None
        try:
            return await fetch_from_any(others, row.id, purpose)
        except (NotFound, UpstreamError):
            return None

    async def _store(self, observation: Observation, *, scheduled: bool = False) -> Generation:
        received = ReceivedObservation(observation, self._clock(), scheduled=scheduled)
        generation, _ = await self._database.write_all(observe, received)
        self._changes.notify(observation.id)
        return generation
