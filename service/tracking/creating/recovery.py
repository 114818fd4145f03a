"""Finds the generations of creates whose answers were lost, in Luma's list.

Luma echoes in its list the callback URL that each generation was created with, and ours are
different for each create. (That the echo is complete is documented by Luma's SDK, not verified.)

    due creates ──claim──► pages of the list, newest first ──► found: observe and link
         ▲                                                └──► not found: pause, longer each time
         └────────────────────────────────────────────────────────┘
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection

from service.domain.generation import Source
from service.domain.request_budget import Purpose
from service.domain.submission import Submission, as_created, next_search
from service.errors import TrackerError
from service.logs import log
from service.luma import Listed, ListPage, Upstream
from service.storage import deliveries, submissions
from service.storage.engine import Database
from service.tracking.changes import Changes
from service.tracking.observe import ReceivedObservation, observe

_INTERVAL = 0.5  # seconds between searches for due creates
_CLAIM = timedelta(seconds=5)  # longer than a walk usually takes; then another instance may search
_PAGE = 100  # generations; Luma's default
_MAX_PAGES = 20
_MARGIN = timedelta(minutes=5)  # between our clock and Luma's


class Recovery:
    """Runs for the lifetime of the service. With several instances, one searches at a time."""

    def __init__(
        self,
        database: Database,
        upstreams: Mapping[str, Upstream],
        changes: Changes,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._upstreams = upstreams
        self._changes = changes
        self._clock = clock

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.search()
            await asyncio.sleep(_INTERVAL)

    async def search(self) -> None:
        """Look for the creates that are due."""
        now = self._clock()
        if not await self._database.read(submissions.any_due, now):
            return
        due = await self._database.write(submissions.claim_searches, now, now + _CLAIM)
        for name, upstream in self._upstreams.items():
            wanted = {each.nonce: each for each in due if each.upstream == name and each.nonce}
            if wanted:
                await self._search(upstream, wanted)

    async def _search(self, upstream: Upstream, wanted: dict[str, Submission]) -> None:
        try:
            await self._walk(upstream, dict(wanted))
        except TrackerError as error:
            log.warning("create_search_failed", upstream=upstream.name, reason=str(error))
        now = self._clock()
        for submission in wanted.values():  # has no effect on those that were found
            due = next_search(submission, now)
            await self._database.write(submissions.schedule_search, submission.id, due)

    async def _walk(self, upstream: Upstream, wanted: dict[str, Submission]) -> None:
        """Walk through the list, newest first, until everything is found or too old."""
        oldest = min(each.created_at for each in wanted.values()) - _MARGIN
        offset = 0
        for _ in range(_MAX_PAGES):
            page = await upstream.list_page(offset, _PAGE, Purpose.READ, Source.RECONCILE)
            for listed in page.items:
                if submission := wanted.pop(listed.nonce or "", None):
                    await self._link(submission, listed)
            if not (wanted and page.has_more and page.items) or _ends_before(oldest, page):
                return
            offset += len(page.items)  # Luma may list fewer than were requested

    async def _link(self, submission: Submission, listed: Listed) -> None:
        observation = listed.observation
        await self._database.write(_link, submission, listed, self._clock())
        self._changes.notify(observation.id)
        log.info("create_found", submission_id=submission.id, generation_id=observation.id)


def _ends_before(oldest: datetime, page: ListPage) -> bool:
    """Whether all that follows the page is older than what is searched for."""
    last = page.items[-1].observation.created_at
    return last is not None and last < oldest


def _link(connection: Connection, submission: Submission, listed: Listed, now: datetime) -> None:
    observation, nonce = listed.observation, listed.nonce or ""
    deliveries.rebind(connection, nonce, observation.id, now)
    observe(connection, [ReceivedObservation(as_created(observation, submission), now)])
    submissions.link(connection, {nonce: observation.id}, now)
