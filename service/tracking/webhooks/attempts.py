"""Sends one message to its endpoint: signs it, posts it, and records the attempt."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from standardwebhooks import Webhook as Signer
from uuid_utils import uuid7

from service.domain.redaction import without_tokens
from service.domain.retries import next_attempt
from service.domain.text import clean_text, one_line
from service.logs import log
from service.metrics import WEBHOOK_ATTEMPTS
from service.storage import claims
from service.storage.attempts import Attempt
from service.storage.claims import Finished, Message
from service.storage.engine import Database
from service.storage.outbox import TEST, Outcome
from service.tracking.dialling.dialler import Dialler
from service.tracking.dialling.reply import Reply, Undeliverable

_LONGEST_EXCERPT = 200  # characters of an answer in `error`

Secrets = Callable[[], list[str]]
"""Returns the secrets that sign. Raises SettingsError if there are none."""


class Attempts:
    """Makes attempts to send messages.

    Args:
        database: open, and migrated.
        dialler: sends the requests.
        secrets: returns the secrets that sign.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        dialler: Dialler,
        secrets: Secrets,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._dialler = dialler
        self._secrets = secrets
        self._clock = clock
        self._signers: list[Signer] = []

    def require_secrets(self) -> None:
        """Check that messages can be signed.

        Raises:
            SettingsError: no secret is set, and none can be created.
        """
        self._signers = self._signers or [Signer(secret) for secret in self._secrets()]

    async def make(self, message: Message) -> Attempt | None:
        """Send a claimed message and record the attempt; None if its endpoint is no more.

        Raises:
            SettingsError: it cannot be signed.
            StoreUnavailable: the attempt was not recorded; the message will be sent again.
        """
        self.require_secrets()
        finished = await self._send(message)
        await self._database.write_all(claims.finish, finished)
        return finished.attempt

    async def _send(self, message: Message) -> Finished:
        at = self._clock()
        if message.url is None:
            return Finished(message, at, None, Outcome.DROPPED)
        reply = await self._post(message, message.url, at)
        now = self._clock()
        outcome, due = _result(message, reply, now)
        attempt = Attempt(
            id=str(uuid7()),
            generation_id=message.generation_id,
            webhook_id=message.webhook_id,
            at=at,
            state=message.state,
            status=reply.status if isinstance(reply, Reply) else None,
            error=_error(message, reply),
            next_at=due,
        )
        _report(message, attempt, outcome)
        return Finished(message, now, attempt, outcome)

    async def _post(self, message: Message, url: str, at: datetime) -> Reply | Undeliverable:
        headers = {"Content-Type": "application/json", "User-Agent": "luma-tracker"}
        try:
            return await self._dialler.post(url, headers | self._signed(message, at), message.body)
        except Undeliverable as error:
            return error

    def _signed(self, message: Message, at: datetime) -> dict[str, str]:
        """Return the headers of Standard Webhooks; every secret signs."""
        body = message.body.decode()
        return {
            "webhook-id": message.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(s.sign(message.id, at, body) for s in self._signers),
        }


def _result(
    message: Message, reply: Reply | Undeliverable, now: datetime
) -> tuple[Outcome | None, datetime | None]:
    """Return how the message ended, if it did, and else when to try again."""
    if isinstance(reply, Reply) and reply.is_success:
        return Outcome.DELIVERED, None
    if isinstance(reply, Reply) and reply.status == HTTPStatus.GONE:
        return Outcome.GONE, None
    retry_after = reply.retry_after if isinstance(reply, Reply) else None
    due = None if message.state == TEST else next_attempt(message.tries + 1, now, retry_after)
    return (None, due) if due else (Outcome.FAILED, None)


def _error(message: Message, reply: Reply | Undeliverable) -> str | None:
    """Return what went wrong. What a creator's server answered is not kept: it may be secret."""
    if isinstance(reply, Undeliverable):
        return without_tokens(str(reply))
    if reply.is_success:
        return None
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        return f"Answered {reply.status}; redirects are not followed."
    said = clean_text(reply.excerpt.decode(errors="replace")) if message.webhook_id else ""
    said = without_tokens(one_line(said).strip())[:_LONGEST_EXCERPT]
    return f"Answered {reply.status}: {said}" if said else f"Answered {reply.status}."


def _report(message: Message, attempt: Attempt, outcome: Outcome | None) -> None:
    WEBHOOK_ATTEMPTS.labels(outcome or "retried").inc()
    if outcome in (None, Outcome.DELIVERED):
        return
    log.warning(
        "webhook_disabled" if outcome is Outcome.GONE and message.webhook_id else "webhook_failed",
        webhook_id=message.webhook_id or "creators",
        generation_id=message.generation_id,
        attempt_id=attempt.id,
        error=attempt.error,
    )
