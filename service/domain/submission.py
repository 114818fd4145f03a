"""Submissions: creates that pass through the gateway, and what became of them. Pure.

sent ──► accepted   Luma made the generation
  │  └─► refused    Luma refused it, or no byte was sent
  └────► unknown ──► accepted, if Luma's list or a callback shows the generation
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple

from service.domain.generation import Observation, is_usable_id

KEY_LIFETIME = timedelta(hours=24)
"""How long an idempotency key stands for its first create."""
REPEATED_WITHIN = timedelta(minutes=10)
"""How long after a create without a final answer an SDK's own retry counts as the same create."""
_SEARCH_FOR = timedelta(hours=24)
_SEARCH_PAUSES = timedelta(seconds=1), timedelta(minutes=10)  # the shortest and the longest
_LONGEST_PAUSE_BEFORE_ANSWER = timedelta(seconds=5)
_SEARCH_AFTER_REFUSAL = timedelta(seconds=30)  # a 5xx seldom made a generation
_ANSWER_AFTER_LINK = timedelta(seconds=2)


class State(StrEnum):
    """What is known of a create."""

    SENT = "sent"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Submission(NamedTuple):
    """One create."""

    id: str
    upstream: str
    path: str
    """Below the base URL: `generations/video`."""
    token_digest: str
    """Of the caller's token; keys are per token."""
    state: State
    created_at: datetime
    expires_at: datetime
    """Until then, a create in the state `sent` is under way."""
    key_digest: str | None = None
    """Of the idempotency key; None: without one, or the key is free again."""
    body_digest: str = ""
    """Of API, path and body: what makes two creates the same."""
    nonce: str | None = None
    """Of the callback URL that Luma was given; None: it was given none."""
    callback_url: str | None = None
    """The URL that the caller wants called."""
    parent_id: str | None = None
    request: Mapping[str, Any] | None = None
    """The body, for an upstream that does not echo it."""
    generation_id: str | None = None
    status: int | None = None
    """HTTP status of the answer."""
    answer: bytes | None = None
    headers: Mapping[str, str] | None = None
    delivered: bool = False
    """Whether the answer reached the caller."""
    settled_at: datetime | None = None
    next_search_at: datetime | None = None
    """When to look for it in Luma's list; None: never."""
    searches: int = 0

    @property
    def has_final_answer(self) -> bool:
        """Whether its answer is stored, and is not that Luma's answer was lost."""
        if self.answer is None or self.status is None:
            return False
        return self.state is State.REFUSED or self.status < HTTPStatus.MULTIPLE_CHOICES

    def is_under_way(self, now: datetime) -> bool:
        """Whether its answer may still come.

        If a callback or Luma's list was faster than the answer, that can only take a moment.
        """
        if self.status is not None or now >= self.expires_at:
            return False
        if self.state is State.ACCEPTED and self.settled_at:
            return now < self.settled_at + _ANSWER_AFTER_LINK
        return self.state is State.SENT

    def has_expired(self, now: datetime) -> bool:
        """Whether its key no longer stands for it."""
        return now - self.created_at >= KEY_LIFETIME


def frees_key(status: int) -> bool:
    """Whether the next create with the same key is a new attempt: a 429 or 5xx may pass."""
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def next_search(submission: Submission, now: datetime) -> datetime | None:
    """Return when to look again for a create without an answer; None: no more.

    The pauses are half of the time since the answer was lost: 1, 1, 1, 1.5, 2.3, 3.4 s ….
    """
    if now - submission.created_at >= _SEARCH_FOR:
        return None
    since = now - (submission.settled_at or submission.created_at)
    if submission.state is State.REFUSED and since >= _SEARCH_AFTER_REFUSAL:
        return None
    shortest, longest = _SEARCH_PAUSES
    if submission.state is State.SENT:
        longest = _LONGEST_PAUSE_BEFORE_ANSWER
    return now + min(max(since / 2, shortest), longest)


def created_id(answer: bytes) -> str | None:
    """Return the id of the generation that an answer to a create shows; None: it shows none."""
    try:
        id_ = json.loads(answer)["id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return id_ if is_usable_id(id_) else None


def as_created(observation: Observation, submission: Submission) -> Observation:
    """Add to an observation what Luma does not report, but the create said."""
    asked = submission.request or {}
    prompt = asked.get("prompt")
    return observation._replace(
        parent_id=submission.parent_id,
        callback_url=submission.callback_url,
        prompt=observation.prompt or (prompt if isinstance(prompt, str) else None),
        request=observation.request or submission.request,
    )
