"""Which messages a change of state causes; they are written in its transaction.

change ─► endpoints that want the state ─► {"type", "timestamp", "data"}
      └─► the creator's own callback URL ─► Luma's document
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zlib import crc32

from pydantic_core import to_json
from sqlalchemy import Connection
from uuid_utils import uuid7

from service.domain.generation import UNKNOWN_STATE, Generation, Source
from service.domain.query import Conditions
from service.storage import outbox, webhooks
from service.storage.shape import as_text
from service.storage.snapshot import body_of, creators_body_of

_UNHEARD = "queued"
"""The state that creators already know of, from the answer to their request."""
_GROUPS = 64  # of paths on one host


class Step(NamedTuple):
    """A row before and after one observation, and when that was received."""

    before: Generation | None
    after: Generation
    at: datetime


def causes_messages(before: Generation | None, after: Generation) -> bool:
    """Whether a step may cause messages: a new state, or a creator's URL that was unknown."""
    return (
        before is None
        or before.state != after.state
        or (before.callback_url is None and after.callback_url is not None)
    )


def add_messages(connection: Connection, steps: Sequence[Step]) -> None:
    """Add the messages that steps cause to the outbox.

    Args:
        connection: of the transaction of the steps.
        steps: those for which `causes_messages`, in order.
    """
    reported = [step for step in steps if step.after.state != UNKNOWN_STATE]
    if not reported:
        return
    subscriptions = webhooks.subscriptions(connection)
    outbox.add(connection, [row for step in reported for row in _messages(step, subscriptions)])


def new_message_id() -> str:
    """Return an id for a message, the header `webhook-id` of all its attempts."""
    return f"msg_{uuid7().hex}"


def event_body(type_: str, timestamp: str, data: bytes) -> bytes:
    """Return the body of a message to an endpoint."""
    return b'{"type":%b,"timestamp":"%b","data":%b}' % (_quoted(type_), timestamp.encode(), data)


_quoted = lru_cache(64)(to_json)  # there are few types


def _messages(
    step: Step, subscriptions: Sequence[webhooks.Subscription]
) -> Iterator[dict[str, Any]]:
    after = step.after
    if _is_new_state(step) and (wanting := _wanting(step, subscriptions)):
        body = event_body(f"generation.{after.state}", as_text(after.updated_at), body_of(after))
        for subscription in wanting:
            yield _row(step, subscription.id, subscription.id, body)
    if after.callback_url and after.state != _UNHEARD:
        destination = destination_of(after.callback_url)
        yield _row(step, outbox.CREATORS, destination, creators_body_of(after))


def _wanting(
    step: Step, subscriptions: Sequence[webhooks.Subscription]
) -> list[webhooks.Subscription]:
    conditions = Conditions(step.at, timedelta.max)  # what has just changed is not stale
    return [each for each in subscriptions if each.wants(step.after, conditions)]


def _is_new_state(step: Step) -> bool:
    """Whether the state has changed.

    What a backfill finds in a terminal state, and was never heard of before, is history.
    """
    if step.before is None:
        return not (step.after.source is Source.BACKFILL and step.after.terminal)
    return step.before.state != step.after.state


def _row(step: Step, webhook_id: str, destination: str, body: bytes) -> dict[str, Any]:
    return outbox.message_row(
        id_=new_message_id(),
        webhook_id=webhook_id,
        generation_id=step.after.id,
        destination=destination,
        state=step.after.state,
        body=body,
        at=step.at,
    )


@lru_cache(1024)
def destination_of(url: str) -> str:
    """Return where a creator's URL leads: its host, and one of a few groups of paths.

    So URLs that share a host do not wait for each other, and a program that has a URL for each
    generation does not make as many destinations.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "malformed"
    return f"{parts.scheme}://{parts.netloc} {crc32(parts.path.encode()) % _GROUPS}"
