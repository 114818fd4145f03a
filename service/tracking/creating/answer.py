"""The answers to creates: Luma's as its caller may see it, and ours where Luma gave none."""

from http import HTTPStatus
from typing import NamedTuple

from service.domain.redaction import body_without_tokens
from service.domain.submission import Submission
from service.errors import NotSent, UpstreamUnavailable
from service.luma.relay import HeaderList
from service.storage.engine.batches import dump_json
from service.tracking.creating.request import Prepared

JSON_TYPE = (b"content-type", b"application/json")
NO_RETRY = (b"x-should-retry", b"false")
"""Tells Luma's SDKs not to repeat the request."""

_UNKNOWN_HINT = (
    "The generation may have been created, so do not repeat this create: look it up with "
    "GET /v1/submissions/{id}, with the X-Submission-Id of this answer."
)
_MADE_IN_PLACE = ("upscale", "audio")
"""Creates that Luma answers with 200 instead of 201."""
_NOT_FOUND_YET = (
    "Luma's answer to this create was lost, and its generation has not been found yet. "
    "Do not create it again: repeat this request later with the same Idempotency-Key."
)
_NOT_SENT_HINT = "Nothing was sent to Luma. You can repeat this create."


class CreateAnswer(NamedTuple):
    """What the caller gets."""

    status: int
    headers: HeaderList
    body: bytes
    submission_id: str
    is_final: bool = True
    """Whether the create is over; not if Luma's answer was lost."""
    was_sent: bool = True
    """Whether any byte of it went to Luma."""


def not_sent(error: NotSent, submission_id: str) -> CreateAnswer:
    retry_after = b"%d" % max(1, round(error.retry_after))
    body = _detail(f"{error} {_NOT_SENT_HINT}")
    headers = [(b"retry-after", retry_after), JSON_TYPE]
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return CreateAnswer(status, headers, body, submission_id, was_sent=False)


def lost(error: UpstreamUnavailable, submission_id: str) -> CreateAnswer:
    body = _detail(f"{error} {_UNKNOWN_HINT}")
    headers = [NO_RETRY, JSON_TYPE]
    return CreateAnswer(HTTPStatus.GATEWAY_TIMEOUT, headers, body, submission_id, is_final=False)


def replayed(submission: Submission, created: bytes | None) -> CreateAnswer:
    """Return the answer to a create that another process sent, or sends no more.

    Args:
        submission: the create.
        created: Luma's body of its generation; None: that is not known.
    """
    if submission.has_final_answer:
        headers = (submission.headers or {}).items()
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return CreateAnswer(submission.status or 0, pairs, submission.answer or b"", submission.id)
    if created:
        made_in_place = submission.path.endswith(_MADE_IN_PLACE)
        status = HTTPStatus.OK if made_in_place else HTTPStatus.CREATED
        return CreateAnswer(status, [JSON_TYPE], created, submission.id)
    status, headers_ = HTTPStatus.GATEWAY_TIMEOUT, [NO_RETRY, JSON_TYPE]
    return CreateAnswer(status, headers_, _detail(_NOT_FOUND_YET), submission.id, is_final=False)


def _detail(message: str) -> bytes:
    """Build an error in Luma's form."""
    return dump_json({"detail": message}).encode()


def for_caller(body: bytes, prepared: Prepared) -> bytes:
    """Return Luma's answer with the caller's own callback URL, or null, in the place of ours.

    Luma echoes what it was sent, also in its errors.
    """
    if prepared.our_url is None:
        return body
    own, ours = dump_json(prepared.callback_url).encode(), dump_json(prepared.our_url)
    for written in (ours, ours.replace("/", r"\/")):
        body = body.replace(written.encode(), own)
    return body_without_tokens(body)
