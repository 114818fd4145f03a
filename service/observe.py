"""The one door: everything that Luma tells us comes in here, in the writer's transaction.

callback ─► record ─► inbox ─┐
fetch, submit, list ─────────┴─► observe ─► merge ─► compare-and-set ─► event
"""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from service import inbox, store
from service.errors import Forbidden, Unreadable
from service.generation import Generation, Observation, Outcome, Source
from service.logs import log
from service.luma.dream_machine import read
from service.luma.reading import parse_object
from service.merge import merge
from service.schedule import next_check
from service.tokens import Grant


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one callback. `unreadable` says why it is only kept."""

    delivery_id: str
    outcome: Outcome
    generation_id: str | None = None
    unreadable: Unreadable | None = None


def observe(
    connection: Connection, seen: Observation, at: datetime, delivery_id: str | None = None
) -> tuple[Generation, Outcome]:
    """Fold one observation into the store; answers the row as it is now."""
    while True:
        before = store.find(connection, seen.id)
        after, outcome = merge(before, seen, at)
        if outcome is Outcome.APPLIED or seen.authenticated:
            after = _scheduled(before, after, seen, at)
        if store.save(connection, before, after):
            break
    if before is None or after.rev > before.rev:
        store.add_event(connection, before, after, delivery_id)
    return after, outcome


def _scheduled(
    before: Generation | None, after: Generation, seen: Observation, at: datetime
) -> Generation:
    """With the time of the next question. News begin anew; an answer goes on where it was."""
    checks = max(before.checks, 1) if before and seen.authenticated else 0
    return replace(after, checks=checks, next_check_at=next_check(after, at, checks))


def record(connection: Connection, body: bytes, grant: Grant, at: datetime) -> Receipt:
    """Keep a callback's body, then fold it. What cannot be folded is kept all the same.

    Duplicates are folded again: after a claim was overruled, the same bytes may be news.

    Raises:
        Forbidden: the token belongs to another generation; nothing is kept.
    """
    seen = _readable(body, at)
    if isinstance(seen, Observation) and not _speaks_of(connection, grant, seen.id, at):
        raise Forbidden("This token belongs to another generation.")
    return _fold(connection, inbox.keep_delivery(connection, body, at), seen, at)


def refold(connection: Connection, delivery_id: str, at: datetime) -> Receipt | None:
    """Fold a delivery that is in the inbox again; None if it is not."""
    body = inbox.body_of(connection, delivery_id)
    return None if body is None else _fold(connection, delivery_id, _readable(body, at), at)


def _speaks_of(connection: Connection, grant: Grant, generation_id: str, at: datetime) -> bool:
    return grant.nonce is None or inbox.bind(connection, grant.nonce, generation_id, at)


def _readable(body: bytes, at: datetime) -> Observation | Unreadable:
    try:
        return read(parse_object(body), Source.CALLBACK, at)
    except Unreadable as error:
        return error


def _fold(
    connection: Connection, delivery_id: str, seen: Observation | Unreadable, at: datetime
) -> Receipt:
    if isinstance(seen, Unreadable):
        inbox.fail_delivery(connection, delivery_id, None, str(seen))
        return Receipt(delivery_id, Outcome.KEPT, unreadable=seen)
    try:
        with connection.begin_nested():
            _, outcome = observe(connection, seen, at, delivery_id)
    except OperationalError:
        raise  # the database's trouble, not the body's: nothing is kept, Luma tries again
    except Exception as error:  # noqa: BLE001 - a bug of ours must not lose what Luma said
        log.exception("not folded", delivery_id=delivery_id, generation_id=seen.id)
        inbox.fail_delivery(connection, delivery_id, seen.id, f"{type(error).__name__}: {error}")
        return Receipt(delivery_id, Outcome.KEPT, seen.id)
    inbox.settle_delivery(connection, delivery_id, seen.id, outcome, at)
    return Receipt(delivery_id, outcome, seen.id)
