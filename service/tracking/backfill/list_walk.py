"""Walks through an upstream's list page by page, and stores each page together with the progress.

    page, within the budget ──► observe its generations + save the walk, in one commit ──► next page

`service.domain.paging` says which page is next. A walk ends at the end of the list, at `since`, or
at known ground: a page whose generations were all stored before, and all created at a time up to
which an earlier walk has read everything. Callbacks alone make no known ground, because some may
have been lost.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from service.domain import paging
from service.domain.generation import Observation, Outcome, Source
from service.domain.paging import Item
from service.domain.request_budget import Purpose
from service.errors import NotFound, NotSent, UpstreamNonsense, UpstreamRefused, UpstreamUnavailable
from service.logs import log
from service.luma import ListPage, Upstream
from service.storage import backfills
from service.storage.backfills import Walk
from service.storage.engine import Database
from service.tracking.changes import Changes
from service.tracking.observe import ReceivedObservation, observe

_PAGE = 100  # generations; Luma's default, and no larger page is documented
_LONGEST_WAIT = 1.0  # seconds between attempts while the request budget is used up
_FIRST_PAUSE = 0.5  # seconds after a failure; doubled with each one in a row
_MOST_FAILURES = 5  # in a row
_MOST_PAUSES = 20  # in a row, if Luma itself asks for them
_MOST_USELESS = 20  # pages in a row, on top of as many as were useful
_MOST_MET = 200_000  # ids that are remembered at a time, which takes 15 MB
_LONGEST_LIST = 10_000_000  # generations
_NO_LIST = "This API may have no list of generations; then it cannot be backfilled."
_METHOD_NOT_ALLOWED = 405


class WalkLost(Exception):
    """Another instance has taken the walk over, because this one did not report in time."""


class ListWalk:
    """Continues walks.

    Args:
        database: open, and migrated.
        changes: notified of every row that is stored.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(self, database: Database, changes: Changes, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def read_on(self, walk: Walk, upstream: Upstream) -> Walk:
        """Read and store pages until the walk is done, and return it.

        Raises:
            WalkLost: another instance continues the walk.
            UpstreamError: the upstream refused a page, or failed too often.
            StoreUnavailable: a page could not be stored.
        """
        met = _Met()
        while walk.state == backfills.RUNNING:
            page = await _fetched(upstream, walk.place.position)
            met.add(page)
            walk, changed = await self._database.write(_store, walk, page, self._clock())
            for generation_id in changed:
                self._changes.notify(generation_id)
            if walk.state == backfills.RUNNING and (paging.is_stuck(walk.place) or met.is_stuck):
                message = (
                    f"{walk.upstream} lists the same generations at every offset, or in a circle."
                )
                raise UpstreamNonsense(walk.upstream, message)
        return walk

    async def length(self, upstream: Upstream) -> int:
        """Return about how many generations an upstream lists, at most a tenth or a page too many.

        Raises:
            UpstreamError: a request failed.
        """
        shortest, longest = 0, _PAGE
        while longest < _LONGEST_LIST and await _is_behind(upstream, longest):
            shortest, longest = longest, longest * 4
        while longest - shortest > max(shortest // 10, _PAGE):
            middle = (shortest + longest) // 2
            if await _is_behind(upstream, middle):
                shortest = middle
            else:
                longest = middle
        return longest


class _Page:
    """A page of observations, of which each id is there once."""

    def __init__(self, observations: Sequence[Observation], *, has_more: bool) -> None:
        self.observations = {each.id: each for each in observations}
        self.items = [Item(each.id, each.created_at) for each in self.observations.values()]
        self.has_more = has_more

    def since(self, time: datetime | None) -> list[Observation]:
        """Return what was created since then, or at an unknown time."""
        return [
            each
            for each in self.observations.values()
            if not (time and each.created_at and each.created_at < time)
        ]


class _Met:
    """What a walk has come across, to notice a list that never ends.

    A walk may step back to the beginning of the list and read everything a second time, so it is
    stuck only after more pages without anything new than there were with something new.
    """

    def __init__(self) -> None:
        self._ids = set[int]()
        self._useful = self._useless = 0

    def add(self, page: _Page) -> None:
        """Note a page."""
        ids = {hash(item.id) for item in page.items}
        if ids <= self._ids:
            self._useless += 1
            return
        self._useful, self._useless = self._useful + 1, 0
        if len(self._ids) > _MOST_MET:
            self._ids.clear()
        self._ids |= ids

    @property
    def is_stuck(self) -> bool:
        """Whether the list repeats itself."""
        return self._useless > _MOST_USELESS + self._useful


async def _with_retries(upstream: Upstream, offset: int, limit: int) -> ListPage:
    """Request a page when the budget allows it; temporary failures are retried."""
    failures = 0
    while True:
        try:
            return await upstream.list_page(offset, limit, Purpose.RECONCILE, Source.BACKFILL)
        except NotSent as error:  # the budget is used up, or the circuit breaker is open
            pause = min(error.retry_after, _LONGEST_WAIT)
        except UpstreamUnavailable as error:
            failures += 1
            if failures >= (_MOST_PAUSES if error.from_upstream else _MOST_FAILURES):
                raise
            pause = _FIRST_PAUSE * 2 ** min(failures - 1, _MOST_FAILURES)
            pause = max(pause, error.retry_after) if error.from_upstream else pause
            reason = {"reason": str(error), "retry_in": pause}
            log.info("backfill_page_failed", upstream=upstream.name, **reason)
        await asyncio.sleep(pause)


async def _is_behind(upstream: Upstream, offset: int) -> bool:
    """Whether the list has an item at an offset."""
    return bool((await _with_retries(upstream, offset, 1)).items)


async def _fetched(upstream: Upstream, offset: int) -> _Page:
    try:
        page = await _with_retries(upstream, offset, _PAGE)
    except NotFound as error:
        refused = UpstreamRefused(upstream.name, str(error))
        refused.hint = _NO_LIST
        raise refused from error
    except UpstreamRefused as error:
        if error.status == _METHOD_NOT_ALLOWED:
            error.hint = _NO_LIST
        raise
    if page.has_more and not page.items:
        message = (
            f"{upstream.name} says that its list goes on at offset {offset}, but lists nothing "
            "readable there."
        )
        raise UpstreamNonsense(upstream.name, message)
    return _Page([each.observation for each in page.items], has_more=page.has_more)


def _store(
    connection: Connection, walk: Walk, page: _Page, at: datetime
) -> tuple[Walk, Sequence[str]]:
    """Store a page and the progress in one transaction.

    Returns:
        The walk, and the ids of the generations that changed.

    Raises:
        WalkLost: another instance continues the walk.
        Conflict: another instance has just written one of the rows; retry the transaction.
    """
    walk = walk._replace(pages=walk.pages + 1, heard_at=at)
    changed: Sequence[str] = ()
    if paging.continues(walk.place, page.items):
        walk, changed = _observed(connection, walk, page, at)
    else:
        walk = walk._replace(place=paging.step_back(walk.place))
    if not backfills.save(connection, walk):
        raise WalkLost
    return walk, changed


def _observed(
    connection: Connection, walk: Walk, page: _Page, at: datetime
) -> tuple[Walk, Sequence[str]]:
    wanted = page.since(walk.since)
    results = observe(connection, [ReceivedObservation(each, at) for each in wanted])
    applied = [row for row, outcome in results if outcome is Outcome.APPLIED]
    new = {row.id for row in applied if row.rev == 1}
    fresh = {item.id for item in paging.fresh(walk.place, page.items)}
    seen = {each.id for each in wanted if each.id in fresh or each.id in new}
    place = paging.step_on(walk.place, page.items) if page.items else walk.place
    after = walk._replace(seen=walk.seen + len(seen), new=walk.new + len(new), place=place)
    if not page.has_more or _is_over(walk, page, fresh, new):
        after = _done(after, at, to_the_end=not page.has_more)
    return after, [row.id for row in applied]


def _is_over(walk: Walk, page: _Page, fresh: set[str], new: set[str]) -> bool:
    """Whether the rest of the list need not be read."""
    last = paging.reached(page.items)
    if last is None:
        return False
    if walk.since:
        return last < walk.since
    is_known = bool(fresh) and not new and walk.known_until is not None
    return not walk.everything and is_known and last <= (walk.known_until or last)


def _done(walk: Walk, at: datetime, *, to_the_end: bool) -> Walk:
    known = walk.known_until
    gapless = to_the_end or not walk.since or (known is not None and walk.since <= known)
    if gapless and walk.place.newest:
        known = max(walk.place.newest, known or walk.place.newest)
    return walk._replace(state=backfills.DONE, finished_at=at, known_until=known)
