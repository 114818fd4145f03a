"""Creates that the tracker itself refuses: nothing is sent, but the journal names them."""

from datetime import datetime
from http import HTTPStatus

from service.domain.submission import State, Submission
from service.errors import InvalidInput
from service.tracking.creating.request import CreateRequest


class RefusedCreate(InvalidInput):
    """A create that cannot be sent as it is; `submission_id` names it in the journal."""

    def __init__(self, submission_id: str, field: str, message: str, hint: str) -> None:
        super().__init__(field, message, hint)
        self.submission_id = submission_id


class KeyReused(RefusedCreate):
    """An idempotency key that was used for another create; `submission_id` names that one."""

    def __init__(self, submission_id: str) -> None:
        super().__init__(
            submission_id,
            "Idempotency-Key",
            "This Idempotency-Key was used for another create within the last 24 hours.",
            "Send a new key, or the same path and body as before.",
        )


def refused(create: CreateRequest, submission_id: str, now: datetime) -> Submission:
    """Return the entry in the journal of a create that was refused with 422.

    It has no key: the same one may be sent again with what is right.
    """
    return Submission(
        id=submission_id,
        upstream=create.upstream,
        path=create.path,
        token_digest=create.caller,
        state=State.REFUSED,
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        delivered=True,
        created_at=now,
        settled_at=now,
        expires_at=now,
    )
