"""The use cases of Luma's own clients, whose requests pass through the service."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from service.domain.generation import Observation, Source
from service.domain.redaction import body_without_tokens
from service.domain.submission import State, Submission
from service.domain.text import clean_text
from service.domain.upstreams import KEY_SETTING
from service.errors import NotFound, StoreUnavailable, Unreadable, UpstreamError
from service.logs import log
from service.luma import Upstream
from service.luma.lists import read_page, with_own_callback_urls
from service.luma.relay import OF_ENCODED as OF_ENCODED  # noqa: PLC0414 - re-exported for surfaces
from service.luma.relay import PLAIN_ANSWER as PLAIN_ANSWER  # noqa: PLC0414
from service.luma.relay import Incoming as Incoming  # noqa: PLC0414
from service.luma.relay import Outgoing as Outgoing  # noqa: PLC0414
from service.storage import generations, submissions
from service.storage.engine import Database
from service.tracking.answer import Answer
from service.tracking.changes import Changes
from service.tracking.creating.answer import CreateAnswer as CreateAnswer  # noqa: PLC0414
from service.tracking.creating.answer import replayed
from service.tracking.creating.creates import Creates
from service.tracking.creating.request import CreateRequest as CreateRequest  # noqa: PLC0414
from service.tracking.luma_shape import luma_body
from service.tracking.observe import ReceivedObservation, observe
from service.tracking.tracker import Tracker

_POLL = 0.1  # seconds between looks at a create that another instance is sending


class Gateway:
    """Answers Luma's clients from the store, or passes their requests on.

    Args:
        database: open, and migrated.
        upstreams: by name; those for which an API key is set.
        tracker: answers lookups.
        creates: sends creates.
        changes: notified of every row that is stored.
        clock: returns the current time, aware and in UTC.
        timeout: seconds that Luma may take for a list.
    """

    def __init__(
        self,
        database: Database,
        upstreams: Mapping[str, Upstream],
        tracker: Tracker,
        creates: Creates,
        changes: Changes,
        clock: Callable[[], datetime],
        timeout: float,
    ) -> None:
        self.timeout = timeout
        self._database = database
        self._upstreams = upstreams
        self._tracker = tracker
        self.creates = creates
        self._changes = changes
        self._clock = clock

    def has_key_for(self, upstream: str) -> bool:
        """Return whether an API key is set for the upstream."""
        return upstream in self._upstreams

    def require_key(self, upstream: str) -> None:
        """Check that an API key is set for the upstream.

        Raises:
            UpstreamError: there is none; the hint names the setting.
        """
        if not self.has_key_for(upstream):
            message = f"The tracker has no API key for {upstream}."
            raise UpstreamError(upstream, message, f"Set {KEY_SETTING[upstream]} where it runs.")

    async def lookup(self, upstream: str, generation_id: str, *, fresh: bool) -> Answer | None:
        """Return a generation of this upstream; None: only the upstream itself can answer.

        Raises:
            TrackerError: as `Tracker.lookup`.
        """
        lookup = partial(self._tracker.lookup, generation_id, luma=True, upstream=upstream)
        answer = await lookup(fresh=fresh)
        if answer.representation.upstream != upstream:
            return None
        if not (answer.representation.luma_body or fresh):
            answer = await lookup(fresh=True)
        return answer

    async def send(self, upstream: str, outgoing: Outgoing) -> Incoming:
        """Pass a request on; the caller closes the answer.

        Raises:
            UpstreamUnavailable: there was no answer.
        """
        return await self._upstreams[upstream].send(outgoing)

    async def learn(self, upstream: str, body: bytes) -> bytes:
        """Store the generations of a list that Luma answered.

        Returns:
            The list for the caller: with the creators' callback URLs in the place of ours.
        """
        try:
            page = read_page(body, self._upstreams[upstream].read, Source.FETCH, self._clock())
        except Unreadable:
            return body_without_tokens(body)
        await asyncio.gather(*(self._store(listed.observation) for listed in page.items))
        ids = {listed.observation.id for listed in page.items}
        own = await self._database.read(generations.callback_urls, ids)
        return body_without_tokens(with_own_callback_urls(body, own))

    async def stored_page(self, upstream: str, limit: int, offset: int) -> tuple[list[bytes], bool]:
        """Return Luma's bodies of the newest stored generations, and whether there are more."""
        found = await self._tracker.newest(upstream, limit + 1, offset)
        return [luma_body(each) for each in found[:limit]], len(found) > limit

    async def record_deleted(self, upstream: str, generation_id: str) -> None:
        """Mark a stored generation as gone, because Luma has deleted it.

        If the database fails, the next checks find out what Luma now answers.
        """
        try:
            if await self._database.read(generations.find, generation_id):
                await self._store(Observation(generation_id, upstream, Source.FETCH, deleted=True))
        except StoreUnavailable as error:
            log.error("delete_not_recorded", generation_id=generation_id, reason=str(error))

    async def create(self, create: CreateRequest) -> tuple[CreateAnswer, bool]:
        """Create a generation for a command or a tool, which gets the answer in any case.

        Returns:
            The answer, and whether the create is new; otherwise it repeats an earlier one.

        Raises:
            UpstreamError: there is no API key for the upstream; nothing was sent.
            RefusedCreate, StoreUnavailable: as `Creates.begin`.
        """
        self.require_key(create.upstream)
        begun = await self.creates.begin(create)
        answer = await self.final_answer(begun.submission)
        if answer.is_final:
            await self.creates.mark_delivered(begun.submission.id)
        return answer, begun.is_first

    async def submission(self, submission_id: str) -> Submission:
        """Return a create by its id.

        Raises:
            NotFound: there is none.
        """
        submission_id = clean_text(submission_id)
        found = await self._database.read(submissions.find, submission_id)
        if found is None:
            raise NotFound(
                f"There is no submission with the id {submission_id[:64]}.",
                "Use the X-Submission-Id of the answer to the create.",
            )
        return found

    async def answer_of(self, submission: Submission) -> CreateAnswer | Submission:
        """Wait until a create that may be under way is answered.

        Returns:
            The answer, if this process sends the create; else the create, when it is no longer
            under way.
        """
        try:
            if answer := await self.creates.answer(submission):
                return answer
            while submission.is_under_way(self._clock()):
                await asyncio.sleep(_POLL)
                submission = await self.submission(submission.id)
            return submission
        finally:
            self.creates.end_retry(submission.id)

    async def final_answer(self, submission: Submission) -> CreateAnswer:
        """Wait until a create is answered, and return what its caller gets, whoever sent it."""
        answer = await self.answer_of(submission)
        if isinstance(answer, CreateAnswer):
            return answer
        created = None if answer.has_final_answer else await self.created(answer)
        return replayed(answer, created)

    async def created(self, submission: Submission) -> bytes | None:
        """Return Luma's body of the generation that a create made; None if it is not known."""
        if submission.state is not State.ACCEPTED or submission.generation_id is None:
            return None
        answer = await self._tracker.lookup(submission.generation_id, luma=True)
        return luma_body(answer.representation)

    async def _store(self, observation: Observation) -> None:
        received = ReceivedObservation(observation, self._clock())
        await self._database.write_all(observe, received)
        self._changes.notify(observation.id)
