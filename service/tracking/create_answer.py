"""The answers to creates: Luma's as its caller may see it, and ours where Luma gave none."""

from http import HTTPStatus
from typing import NamedTuple

from service.domain.redaction import body_without_tokens
from service.errors import NotSent, UpstreamUnavailable
from service.luma.relay import HeaderList
from service.storage.engine.batches import dump_json
from service.tracking.create_request import Prepared

JSON_TYPE = (b"content-type", b"application/json")
NO_RETRY = (b"x-should-retry", b"false")
"""Tells Luma's SDKs not to repeat the request."""

_UNKNOWN_HINT = (
    "The generation may have been created, so do not repeat this create: look it up with "
    "GET /v1/submissions/{id}, with the X-Submission-Id of this answer."
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


def not_sent(error: NotSent, submission_id: str) -> CreateAnswer:
    retry_after = b"%d" % max(1, round(error.retry_after))
    body = _detail(f"{error} {_NOT_SENT_HINT}")
    headers = [(b"retry-after", retry_after), JSON_TYPE]
    return CreateAnswer(HTTPStatus.SERVICE_UNAVAILABLE, headers, body, submission_id)


def lost(error: UpstreamUnavailable, submission_id: str) -> CreateAnswer:
    body = _detail(f"{error} {_UNKNOWN_HINT}")
    headers = [NO_RETRY, JSON_TYPE]
    return CreateAnswer(HTTPStatus.GATEWAY_TIMEOUT, headers, body, submission_id, is_final=False)


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
