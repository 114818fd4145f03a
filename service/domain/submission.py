"""Submissions: creates that pass through the gateway, and what became of them. Pure.

sent ──► accepted   Luma made the generation
  │  └─► refused    Luma refused it, or no byte was sent
  └────► unknown ──► accepted, if Luma's list or a callback shows the generation
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple

from service.domain.generation import Observation

KEY_LIFETIME = timedelta(hours=24)
"""How long an idempotency key stands for its first create."""
REPEATED_WITHIN = timedelta(minutes=10)
"""How long after a create without a final answer an SDK's own retry counts as the same create."""
_MAX_SEARCH_PAUSE = timedelta(minutes=10)
_SEARCH_FOR = timedelta(hours=24)
_SEARCHES_AFTER_REFUSAL = 6  # a 5xx seldom made a generation


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
    key_digest: str | None
    """Of the idempotency key; None: without one, or the key is free again."""
    body_digest: str
    """Of path and body: what makes two creates the same."""
    nonce: str | None
    """Of the callback URL that Luma was given; None: it was given none."""
    callback_url: str | None
    """The URL that the caller wants called."""
    parent_id: str | None
    request: Mapping[str, Any] | None
    """The body, for an upstream that does not echo it."""
    state: State
    generation_id: str | None
    status: int | None
    """HTTP status of the answer."""
    answer: bytes | None
    headers: Mapping[str, str] | None
    delivered: bool
    """Whether the answer reached the caller."""
    created_at: datetime
    settled_at: datetime | None
    expires_at: datetime
    """Until then, a create in the state `sent` is under way."""
    next_search_at: datetime | None
    """When to look for it in Luma's list; None: never."""
    searches: int

    def is_under_way(self, now: datetime) -> bool:
        """Whether its answer may still come."""
        return self.state is State.SENT and now < self.expires_at

    def has_expired(self, now: datetime) -> bool:
        """Whether its key no longer stands for it."""
        return now - self.created_at >= KEY_LIFETIME


def frees_key(status: int) -> bool:
    """Whether the next create with the same key is a new attempt: a 429 or 5xx may pass."""
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def next_search(submission: Submission, now: datetime) -> datetime | None:
    """Return when to look again for a create without an answer; None: no more.

    The pause doubles from one second.
    """
    was_refused = submission.state is State.REFUSED
    if was_refused and submission.searches >= _SEARCHES_AFTER_REFUSAL:
        return None
    if now - submission.created_at >= _SEARCH_FOR:
        return None
    return now + min(timedelta(seconds=2.0 ** min(submission.searches, 20)), _MAX_SEARCH_PAUSE)


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
