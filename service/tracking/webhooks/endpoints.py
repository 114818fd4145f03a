"""The endpoints that changes of state are sent to, and the attempts to send to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection
from uuid_utils import uuid7

from service.domain.addresses import Network, require_callable
from service.domain.cursors import parse_id_cursor
from service.domain.generation import require_known_state, require_usable_id
from service.domain.query import parse
from service.domain.text import clean_text
from service.errors import InvalidInput, NotFound
from service.storage import attempts, claims, outbox, webhooks
from service.storage.attempts import Attempt
from service.storage.claims import Message
from service.storage.engine import Database
from service.storage.outbox import CREATORS, TEST
from service.storage.shape import as_text
from service.storage.webhooks import Webhook
from service.tracking.outbox import event_body, new_message_id
from service.tracking.webhooks.attempts import Attempts
from service.tracking.webhooks.sender import CLAIM

CREATORS_ID = "creators"
"""Stands for the callback URLs of creators where an endpoint's id is expected."""

MAX_WEBHOOKS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """What an endpoint to add wants."""

    url: str
    states: Sequence[str] | None = None
    generation_id: str | None = None
    q: str | None = None


class Webhooks:
    """The endpoints.

    Args:
        database: open, and migrated.
        attempts: sends tests and replays.
        allowed: networks that may be called although they are not public.
        clock: returns the current time, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        allowed: Sequence[Network],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._allowed = allowed
        self._clock = clock

    def require_callable(self, field: str, url: str) -> None:
        """Refuse a URL that can never be called.

        Raises:
            InvalidInput: it is not http(s), or its address is neither public nor allowed.
        """
        require_callable(field, url, self._allowed)

    def check_callback_url(self, url: str) -> None:
        """Refuse the callback URL of a generation's creator if it can never be called.

        Where messages cannot be signed yet, they wait until a secret is set: what a creator asks
        for must not fail a create that Luma would accept.

        Raises:
            InvalidInput: it is not http(s), or its address is neither public nor allowed.
        """
        self.require_callable("callback_url", url)

    async def add(self, wanted: NewWebhook) -> Webhook:
        """Add an endpoint.

        Raises:
            InvalidInput: the URL can never be called, or another value is invalid.
            SettingsError: messages cannot be signed.
        """
        self.require_callable("url", wanted.url)
        _check(wanted)
        self._attempts.require_secrets()
        states = None if wanted.states is None else list(dict.fromkeys(wanted.states))
        webhook = Webhook(
            id=str(uuid7()),
            url=wanted.url,
            states=states,
            generation_id=wanted.generation_id,
            q=wanted.q and clean_text(wanted.q),
            enabled=True,
            created_at=self._clock(),
        )
        await self._database.write(_add, webhook)
        return webhook

    async def every(self) -> list[Webhook]:
        """Return all endpoints, oldest first."""
        return await self._database.read(webhooks.every)

    async def get(self, webhook_id: str) -> Webhook:
        """Return an endpoint.

        Raises:
            NotFound: no endpoint has this id.
        """
        found = await self._database.read(webhooks.find, clean_text(webhook_id))
        if found is None:
            raise _no_webhook(webhook_id)
        return found

    async def remove(self, webhook_id: str) -> None:
        """Delete an endpoint, and end the messages to it.

        Raises:
            NotFound: no endpoint has this id.
        """
        if not await self._database.write(_remove, clean_text(webhook_id)):
            raise _no_webhook(webhook_id)

    async def test(self, webhook_id: str) -> Attempt:
        """Send a test message now. If it is accepted, a disabled endpoint is enabled again.

        Raises:
            NotFound: no endpoint has this id.
            SettingsError: messages cannot be signed.
        """
        webhook = await self.get(webhook_id)
        self._attempts.require_secrets()
        now = self._clock()
        data = to_json({"webhook_id": webhook.id})
        row = outbox.message_row(
            id_=new_message_id(),
            webhook_id=webhook.id,
            generation_id="",
            destination=webhook.id,
            state=TEST,
            body=event_body("webhook.test", as_text(now), data),
            at=now,
        )
        message = await self._database.write(_add_claimed, row, now + CLAIM)
        attempt = await self._make(replace(message, url=webhook.url))
        if attempt.error is None and not webhook.enabled:
            await self._database.write(webhooks.enable, webhook.id, enabled=True)
        return attempt

    async def attempts(self, webhook_id: str, *, before: str | None, limit: int) -> list[Attempt]:
        """Return a page of the attempts to send to an endpoint, newest first.

        Args:
            webhook_id: of the endpoint; `creators` for the callback URLs of creators.
            before: only attempts older than the one with this id.
            limit: the maximum number of attempts.

        Raises:
            NotFound: no endpoint has this id.
            InvalidInput: `before` is not an id.
        """
        stored = CREATORS if webhook_id == CREATORS_ID else (await self.get(webhook_id)).id
        before = parse_id_cursor(before)
        return await self._database.read(attempts.page, stored, before=before, limit=limit)

    async def replay(self, webhook_id: str, attempt_id: str) -> Attempt:
        """Send the message of an attempt again, now; if it fails, its tries start anew.

        Raises:
            NotFound: there is no such endpoint or attempt, or its message is no longer stored.
            SettingsError: messages cannot be signed.
        """
        webhook = None if webhook_id == CREATORS_ID else await self.get(webhook_id)
        self._attempts.require_secrets()
        stored = webhook.id if webhook else CREATORS
        until = self._clock() + CLAIM
        message = await self._database.write(_claim_again, stored, clean_text(attempt_id), until)
        if message and webhook:
            message = replace(message, url=webhook.url)  # also if it is disabled
        if message is None or message.url is None:
            raise NotFound(
                f"There is no message to send for the attempt {attempt_id[:64]}.",
                f"List the attempts with GET /v1/webhooks/{webhook_id[:64]}/attempts.",
            )
        return await self._make(message)

    async def _make(self, message: Message) -> Attempt:
        attempt = await self._attempts.make(message)
        if attempt is None:
            raise AssertionError("a message with a URL is attempted")
        return attempt


def _check(wanted: NewWebhook) -> None:
    if wanted.states is not None and not wanted.states:
        raise InvalidInput("states", "`states` is empty.", "Leave it out to receive all states.")
    for state in wanted.states or ():
        require_known_state(state)
    if wanted.generation_id is not None:
        require_usable_id(wanted.generation_id)
    parse(wanted.q or "")


def _add(connection: Connection, webhook: Webhook) -> None:
    if webhooks.count(connection) >= MAX_WEBHOOKS:
        message = f"There are {MAX_WEBHOOKS} webhooks, which is the maximum."
        raise InvalidInput("url", message, "Delete some first.")
    webhooks.add(connection, webhook)


def _remove(connection: Connection, webhook_id: str) -> bool:
    outbox.drop(connection, webhook_id)
    return webhooks.remove(connection, webhook_id)


def _add_claimed(connection: Connection, row: dict[str, Any], until: datetime) -> Message:
    seq = outbox.add_one(connection, row)
    message = claims.claim_one(connection, seq, until)
    if message is None:
        raise AssertionError("the message was added in this transaction")
    return message


def _claim_again(
    connection: Connection, webhook_id: str, attempt_id: str, until: datetime
) -> Message | None:
    seq = attempts.message_of(connection, webhook_id, attempt_id)
    return None if seq is None else claims.claim_one(connection, seq, until)


def _no_webhook(webhook_id: str) -> NotFound:
    return NotFound(
        f"There is no webhook with the id {clean_text(webhook_id)[:64]}.",
        "List the webhooks with GET /v1/webhooks.",
    )
