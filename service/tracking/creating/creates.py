"""Creates: each is written down before it is sent, and goes to Luma at most once.

journal ──► Luma ──► answer ──► settle: journal, row and event in one transaction ──► caller
              └── no answer ──► unknown: `recovery` looks for it in Luma's list
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from uuid_utils import uuid7

from service.domain.submission import State, Submission
from service.domain.upstreams import DREAM_MACHINE
from service.errors import InvalidInput, StoreUnavailable
from service.logs import log
from service.luma import Upstream
from service.metrics import CREATES
from service.storage import submissions
from service.storage.engine import Database
from service.tracking.callback_tokens import CallbackTokens
from service.tracking.changes import Changes
from service.tracking.creating.answer import CreateAnswer
from service.tracking.creating.delivered import DeliveredAnswers
from service.tracking.creating.outcome import NotFolded, Outcome, settle
from service.tracking.creating.refused import KeyReused, RefusedCreate, refused
from service.tracking.creating.request import CreateRequest, Prepared, prepare
from service.tracking.creating.sending import Journaled, send

_SLACK = timedelta(seconds=3)  # for the database, on top of what Luma may take
_FIRST_SEARCH = timedelta(seconds=3)
_SETTLE_TRIES, _SETTLE_PAUSE = 2, 0.5  # seconds
_LATE_PAUSE = 2.0  # seconds between tries after the caller has its answer


class Begun(NamedTuple):
    """A create that has been written down."""

    submission: Submission
    is_first: bool
    """Whether it is new; otherwise it is the earlier one that the new one repeats."""


class Creates:
    """Sends creates to Luma.

    Args:
        database: open, and migrated.
        upstreams: by name; those for which an API key is set.
        changes: notified of every row that is stored.
        clock: returns the current time, aware and in UTC.
        timeout: seconds that one request to Luma may take.
        callback_base: the public URL that callback URLs begin with; None: Luma cannot reach us.
        tokens: creates callback tokens.
        check_callback_url: refuses a URL of a caller that can never be called.
    """

    def __init__(
        self,
        database: Database,
        upstreams: Mapping[str, Upstream],
        changes: Changes,
        clock: Callable[[], datetime],
        *,
        timeout: float,
        callback_base: str | None,
        tokens: CallbackTokens | None,
        check_callback_url: Callable[[str], None],
    ) -> None:
        self._database = database
        self._upstreams = upstreams
        self._changes = changes
        self._clock = clock
        self._timeout = timeout
        self._callback_base = callback_base
        self._tokens = tokens
        self._check_callback_url = check_callback_url
        self._delivered = DeliveredAnswers(database)
        self._running: dict[str, asyncio.Task[CreateAnswer]] = {}
        self._unsettled = set[asyncio.Task[None]]()
        self._retried = set[str]()  # creates whose answers retries are waiting for
        self._retrying = asyncio.Lock()

    async def close(self) -> None:
        """Wait until all creates that are under way have ended; each is bounded in time."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        for settling in self._unsettled:
            settling.cancel()
        await asyncio.gather(*self._unsettled, return_exceptions=True)
        await self._delivered.close()

    async def begin(self, create: CreateRequest) -> Begun:
        """Write a create down and send it, unless it repeats an earlier one.

        Raises:
            RefusedCreate: the callback URL or the idempotency key cannot be used, or the key was
                used for another create (KeyReused).
            StoreUnavailable: nothing was written, and nothing was sent.
        """
        url, nonce = self._callback_url(create.upstream)
        try:
            prepared = self._prepared(create, url)
        except InvalidInput as error:
            raise await self._refused(create, error) from error
        new = self._submission(create, prepared, nonce)
        writing = asyncio.create_task(self._write(new, is_retry=create.is_retry), name="journal")
        if new.key_digest or create.is_retry:
            submission = await asyncio.shield(writing)
            if submission.id != new.id:  # nothing is sent: no request of the budget may be used
                return _repeating(submission, new)
        self._start(Journaled(create, prepared, new, writing))
        await asyncio.shield(writing)
        return Begun(new, is_first=True)

    def _prepared(self, create: CreateRequest, url: str | None) -> Prepared:
        prepared = prepare(create, url)
        if prepared.callback_url:
            self._check_callback_url(prepared.callback_url)
        return prepared

    async def _refused(self, create: CreateRequest, error: InvalidInput) -> RefusedCreate:
        """Write down a create that is not sent, and return the error for its caller."""
        new = refused(create, str(uuid7()), self._clock())
        await self._database.write(submissions.begin, new, is_retry=False)
        return RefusedCreate(new.id, error.field, str(error), error.hint)

    def _start(self, journaled: Journaled) -> None:
        """Send a create in a task of its own, which no caller can cancel."""
        submission_id = journaled.submission.id

        def end(task: asyncio.Task[CreateAnswer]) -> None:
            del self._running[submission_id]
            task.exception()  # that the journal failed is raised by `begin`

        sending = asyncio.create_task(self._send(journaled), name="create")
        self._running[submission_id] = sending
        sending.add_done_callback(end)

    async def _write(self, new: Submission, *, is_retry: bool) -> Submission:
        if new.key_digest or not is_retry:
            return await self._database.write(submissions.begin, new, is_retry=False)
        await self._delivered.write()
        async with self._retrying:
            found = await self._database.write(
                submissions.begin, new, is_retry=True, taken=frozenset(self._retried)
            )
            self._retried.add(found.id)
        return found

    async def mark_delivered(self, submission_id: str) -> None:
        """Note that the caller has received the answer to its create."""
        self._delivered.add(submission_id)

    def end_retry(self, submission_id: str) -> None:
        """Note that nobody waits for the answer of this create any longer."""
        self._retried.discard(submission_id)

    async def answer(self, submission: Submission) -> CreateAnswer | None:
        """Wait for the answer of a create that this process sends; None: it sends it not."""
        sending = self._running.get(submission.id)
        return await asyncio.shield(sending) if sending else None

    def _callback_url(self, upstream: str) -> tuple[str | None, str | None]:
        """Return a new callback URL and its nonce, if the upstream can call us back."""
        if upstream != DREAM_MACHINE or not (self._callback_base and self._tokens):
            return None, None
        token = self._tokens.single()
        grant = self._tokens.grant(token)
        return f"{self._callback_base}/callbacks/{token}", grant.nonce if grant else None

    def _submission(
        self, create: CreateRequest, prepared: Prepared, nonce: str | None
    ) -> Submission:
        now = self._clock()
        longest = timedelta(seconds=2 * self._timeout + prepared.extra_seconds) + _SLACK
        return Submission(
            id=str(uuid7()),
            upstream=create.upstream,
            path=create.path,
            token_digest=create.caller,
            key_digest=prepared.key_digest,
            body_digest=prepared.body_digest,
            nonce=nonce if prepared.our_url else None,
            callback_url=prepared.callback_url,
            parent_id=prepared.parent_id,
            request=prepared.request,
            state=State.SENT,
            created_at=now,
            expires_at=now + longest,
            next_search_at=now + (_FIRST_SEARCH if nonce and prepared.our_url else longest),
        )

    async def _send(self, journaled: Journaled) -> CreateAnswer:
        """Send a create once it is written down, and store what became of it."""
        submission = journaled.submission
        upstream = self._upstreams[submission.upstream]
        outcome = await send(upstream, journaled, self._timeout)
        await journaled.writing  # what was refused before a byte was sent may not be written yet
        if not await self._settle(submission, outcome):
            settling = asyncio.create_task(self._settle_later(submission, outcome), name="settle")
            self._unsettled.add(settling)
            settling.add_done_callback(self._unsettled.discard)
        CREATES.labels(submission.upstream, outcome.state.value).inc()
        return outcome.answer

    async def _settle(self, submission: Submission, outcome: Outcome) -> bool:
        """Store the outcome; False if the database fails for long: the caller must not wait."""
        for attempt in range(1, _SETTLE_TRIES + 1):
            if await self._stored(submission, outcome):
                return True
            await asyncio.sleep(_SETTLE_PAUSE * attempt)
        return False

    async def _settle_later(self, submission: Submission, outcome: Outcome) -> None:
        """Store the outcome when the database is back."""
        while True:
            await asyncio.sleep(_LATE_PAUSE)
            if await self._stored(submission, outcome):
                return

    async def _stored(self, submission: Submission, outcome: Outcome) -> bool:
        """Store the outcome once; False if that is worth another try."""
        made = outcome.observation and outcome.observation.id
        failed = {"submission_id": submission.id, "generation_id": made}
        try:
            await self._store(submission, outcome)
        except StoreUnavailable as error:
            log.error("create_not_settled", **failed, reason=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - the caller has paid for the generation
            log.error("create_not_settled", **failed, exc_info=error)
        if made:
            self._changes.notify(made)
        return True

    async def _store(self, submission: Submission, outcome: Outcome) -> None:
        try:
            await self._database.write(settle, submission, outcome, self._clock())
        except NotFolded as error:
            made = outcome.observation and outcome.observation.id
            log.error("fold_failed", delivery_id=None, generation_id=made, exc_info=error)
            await self._database.write(settle, submission, outcome, self._clock(), folds=False)


def _repeating(earlier: Submission, new: Submission) -> Begun:
    if earlier.body_digest != new.body_digest:
        raise KeyReused(earlier.id)
    return Begun(earlier, is_first=False)
