"""Creates: each is written down before it is sent, and goes to Luma at most once.

journal ──► Luma ──► answer ──► settle: journal, row and event in one transaction ──► caller
              └── no answer ──► unknown: `recovery` looks for it in Luma's list
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple

from uuid_utils import uuid7

from service.domain.generation import Source
from service.domain.submission import State, Submission, as_created
from service.errors import InvalidInput, NotSent, StoreUnavailable, Unreadable, UpstreamUnavailable
from service.logs import log
from service.luma import DREAM_MACHINE, Upstream
from service.luma.bodies import parse_object
from service.luma.relay import OF_ENCODED, Outgoing
from service.metrics import CREATES
from service.storage import submissions
from service.storage.engine import Database
from service.tracking.callback_tokens import CallbackTokens
from service.tracking.changes import Changes
from service.tracking.creating.answer import CreateAnswer, for_caller, lost, not_sent
from service.tracking.creating.outcome import Outcome, settle
from service.tracking.creating.request import CreateRequest, Prepared, prepare

_LARGEST_ANSWER = 4_194_304  # bytes
_SLACK = timedelta(seconds=3)  # for the database, on top of what Luma may take
_FIRST_SEARCH = timedelta(seconds=3)
_SETTLE_TRIES, _SETTLE_PAUSE = 2, 0.5  # seconds
_LATE_PAUSE = 2.0  # seconds between tries after the caller has its answer


class KeyReused(InvalidInput):
    """An idempotency key that was used for another create; `submission_id` names that one."""

    def __init__(self, submission_id: str) -> None:
        super().__init__(
            "Idempotency-Key",
            "This Idempotency-Key was used for another create within the last 24 hours.",
            "Send a new key, or the same path and body as before.",
        )
        self.submission_id = submission_id


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

    async def begin(self, create: CreateRequest) -> Begun:
        """Write a create down and send it, unless it repeats an earlier one.

        Raises:
            InvalidInput: the callback URL or the idempotency key cannot be used.
            KeyReused: the key was used for another create.
            StoreUnavailable: nothing was written, and nothing was sent.
        """
        url, nonce = self._callback_url(create.upstream)
        prepared = prepare(create, url)
        if prepared.callback_url:
            self._check_callback_url(prepared.callback_url)
        new = self._submission(create, prepared, nonce)
        submission = await self._write(new, is_retry=create.is_retry)
        if submission.id != new.id:
            if submission.body_digest != new.body_digest:
                raise KeyReused(submission.id)
            return Begun(submission, is_first=False)
        sending = asyncio.create_task(self._send(create, prepared, new), name="create")
        self._running[new.id] = sending
        sending.add_done_callback(lambda _: self._running.pop(new.id, None))
        return Begun(new, is_first=True)

    async def _write(self, new: Submission, *, is_retry: bool) -> Submission:
        if new.key_digest or not is_retry:
            return await self._database.write(submissions.begin, new, is_retry=False)
        async with self._retrying:
            found = await self._database.write(
                submissions.begin, new, is_retry=True, taken=frozenset(self._retried)
            )
            self._retried.add(found.id)
        return found

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
            generation_id=None,
            status=None,
            answer=None,
            headers=None,
            delivered=False,
            created_at=now,
            settled_at=None,
            expires_at=now + longest,
            next_search_at=now + (_FIRST_SEARCH if nonce and prepared.our_url else longest),
            searches=0,
        )

    async def _send(
        self, create: CreateRequest, prepared: Prepared, submission: Submission
    ) -> CreateAnswer:
        outcome = await self._attempt(create, prepared, submission)
        if not await self._settle(submission, outcome):
            settling = asyncio.create_task(self._settle_later(submission, outcome), name="settle")
            self._unsettled.add(settling)
            settling.add_done_callback(self._unsettled.discard)
        CREATES.labels(create.upstream, outcome.state.value).inc()
        return outcome.answer

    async def _attempt(
        self, create: CreateRequest, prepared: Prepared, submission: Submission
    ) -> Outcome:
        """Send the create, once, and decide what became of it."""
        try:
            received = await self._post(create, prepared, submission)
        except NotSent as error:
            return Outcome(State.REFUSED, not_sent(error, submission.id))
        except UpstreamUnavailable as error:
            log.warning("create_answer_lost", submission_id=submission.id, reason=str(error))
            return Outcome(State.UNKNOWN, lost(error, submission.id), search=True)
        answer = received._replace(body=for_caller(received.body, prepared))
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            failed = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return Outcome(State.REFUSED, answer, search=failed)
        try:
            read = self._upstreams[create.upstream].read
            observation = read(parse_object(received.body), Source.SUBMIT, self._clock())
        except Unreadable as error:
            log.error("create_answer_unreadable", submission_id=submission.id, reason=str(error))
            return Outcome(State.UNKNOWN, answer, search=True)
        return Outcome(State.ACCEPTED, answer, as_created(observation, submission))

    async def _post(
        self, create: CreateRequest, prepared: Prepared, submission: Submission
    ) -> CreateAnswer:
        """Send the create.

        Raises:
            NotSent: no byte was sent.
            UpstreamUnavailable: there was no complete answer in time.
        """
        limit = self._timeout + prepared.extra_seconds
        target = f"{create.path}?{create.query}" if create.query else create.path
        outgoing = Outgoing("POST", target, prepared.headers, prepared.body, limit, limit)
        incoming = await self._upstreams[create.upstream].send(outgoing, self._timeout)
        left = outgoing.progress.sent_at + limit - time.monotonic()
        try:
            async with asyncio.timeout(left):
                body = await incoming.read(_LARGEST_ANSWER)
        except (TimeoutError, ValueError) as error:
            message = f"{create.upstream} did not end its answer: {error or 'timeout'}."
            raise UpstreamUnavailable(create.upstream, message) from error
        headers = [header for header in incoming.headers if header[0] not in OF_ENCODED]
        return CreateAnswer(incoming.status, headers, body, submission.id)

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
            await self._database.write(settle, submission, outcome, self._clock())
        except StoreUnavailable as error:
            log.error("create_not_settled", **failed, reason=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - the caller has paid for the generation
            log.error("create_not_settled", **failed, exc_info=error)
        if made:
            self._changes.notify(made)
        return True
