"""Sends one create to Luma, once, and decides what became of it."""

import asyncio
import time
from http import HTTPStatus
from typing import NamedTuple

from service.domain.generation import Source
from service.domain.redaction import headers_without_tokens
from service.domain.submission import State, Submission, as_created
from service.errors import NotSent, Unreadable, UpstreamUnavailable
from service.logs import log
from service.luma import Upstream
from service.luma.bodies import parse_object
from service.luma.relay import OF_ENCODED, Outgoing
from service.tracking.creating.answer import CreateAnswer, for_caller, lost, not_sent
from service.tracking.creating.outcome import Outcome
from service.tracking.creating.request import CreateRequest, Prepared

_LARGEST_ANSWER = 4_194_304  # bytes


class Journaled(NamedTuple):
    """A create that is written down, or is just being written down."""

    create: CreateRequest
    prepared: Prepared
    submission: Submission
    writing: asyncio.Task[Submission]
    """Ends when it is on disk. Luma's budget is waited for meanwhile, in the same commit."""


async def send(upstream: Upstream, journaled: Journaled, timeout: float) -> Outcome:
    """Send a create once it is written down, and decide what became of it.

    Args:
        upstream: the API.
        journaled: the create.
        timeout: seconds that one request to Luma may take.

    Raises:
        StoreUnavailable: it was not written down, and no byte was sent.
    """
    submission_id = journaled.submission.id
    try:
        received = await _post(upstream, journaled, timeout)
    except NotSent as error:
        return Outcome(State.REFUSED, not_sent(error, submission_id))
    except UpstreamUnavailable as error:
        log.warning("create_answer_lost", submission_id=submission_id, reason=str(error))
        return Outcome(State.UNKNOWN, lost(error, submission_id), search=True)
    return _outcome(upstream, journaled, received)


def _outcome(upstream: Upstream, journaled: Journaled, received: CreateAnswer) -> Outcome:
    submission = journaled.submission
    answer = received._replace(body=for_caller(received.body, journaled.prepared))
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        failed = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return Outcome(State.REFUSED, answer, search=failed)
    try:
        observation = upstream.read(parse_object(received.body), Source.SUBMIT, upstream.clock())
    except Unreadable as error:
        log.error("create_answer_unreadable", submission_id=submission.id, reason=str(error))
        return Outcome(State.UNKNOWN, answer, search=True)
    return Outcome(State.ACCEPTED, answer, as_created(observation, submission))


async def _post(upstream: Upstream, journaled: Journaled, timeout: float) -> CreateAnswer:
    """Post the create.

    Raises:
        NotSent: no byte was sent.
        UpstreamUnavailable: there was no complete answer in time.
    """
    create, prepared, submission, writing = journaled
    limit = timeout + prepared.extra_seconds
    target = f"{create.path}?{create.query}" if create.query else create.path
    outgoing = Outgoing("POST", target, prepared.headers, prepared.body, limit, limit)
    incoming = await upstream.send(outgoing, timeout, after=writing)
    left = outgoing.progress.sent_at + limit - time.monotonic()
    try:
        async with asyncio.timeout(left):
            body = await incoming.read(_LARGEST_ANSWER)
    except (TimeoutError, ValueError) as error:
        message = f"{create.upstream} did not end its answer: {error or 'timeout'}."
        raise UpstreamUnavailable(create.upstream, message) from error
    kept = [header for header in incoming.headers if header[0] not in OF_ENCODED]
    headers = headers_without_tokens(kept)
    return CreateAnswer(incoming.status, headers, body, submission.id)
