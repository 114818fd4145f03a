"""The one door: everything that Luma tells us comes in here, many at a time, in one transaction.

callbacks ─► receive ─► single tokens bound ─┐                    ┌─► inbox
fetch, submit, list ─────────────────────────┴─► observe ─► merge ┴─► rows ─► events

Every transaction takes its locks in this order - tokens, rows by id, deliveries by digest, the
numbering of events - so instances never wait for each other in a circle.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from service.domain.generation import Generation, Observation, Outcome, Source
from service.domain.merge import merge
from service.domain.schedule import after_news, next_check
from service.errors import Forbidden, Unreadable
from service.logs import log
from service.luma.dream_machine import read
from service.luma.reading import parse_object
from service.storage import deliveries, events, generations
from service.storage.engine import is_database_failure
from service.tracking.callback_tokens import Grant


class ReceivedObservation(NamedTuple):
    """One observation, when it reached us, and the delivery that brought it, if one did."""

    seen: Observation
    at: datetime
    delivery_id: str | None = None
    due: bool = False
    """Whether it answers a question that nobody but the schedule asked."""


class Callback(NamedTuple):
    """One POST to a callback URL whose token is good."""

    body: bytes
    grant: Grant
    at: datetime


class Receipt(NamedTuple):
    """What became of one callback. `unreadable` says why it is only kept."""

    delivery_id: str
    outcome: Outcome
    generation_id: str | None = None
    unreadable: Unreadable | None = None


def observe(
    connection: Connection, heard: Sequence[ReceivedObservation]
) -> list[tuple[Generation, Outcome]]:
    """Fold observations into the store, in their order; answers each row as it then was.

    Raises:
        Conflict: another instance has just written one of these rows; begin again.
    """
    before = generations.lock(connection, {each.seen.id for each in heard})
    now, recorded = dict(before), list[generations.Change]()
    answers = []
    for each in heard:
        row = now.get(each.seen.id)
        after, outcome = _folded(row, each)
        if row is None or after.rev > row.rev:
            recorded.append(generations.Change(row, after, each.delivery_id))
        now[each.seen.id] = after
        answers.append((after, outcome))
    changes = [generations.Change(before.get(id_), after) for id_, after in now.items()]
    generations.save(connection, [c for c in changes if c.after is not c.before])
    events.add(connection, recorded)
    return answers


def _folded(row: Generation | None, heard: ReceivedObservation) -> tuple[Generation, Outcome]:
    """The row, with the time of the next question. News begin anew; an answer goes on."""
    after, outcome = merge(row, heard.seen, heard.at)
    asked = heard.seen.authenticated
    if outcome is not Outcome.APPLIED and not asked:
        return after._replace(next_check_at=after_news(after, heard.at)), outcome
    checks = max(row.checks + heard.due, 1) if row and asked else 0
    due = next_check(after, heard.at, checks)
    return after._replace(checks=checks, refusals=0, next_check_at=due), outcome


def receive(connection: Connection, callbacks: Sequence[Callback]) -> list[Receipt | Forbidden]:
    """Keep callbacks and fold them. What cannot be folded is kept all the same.

    Duplicates are folded again: after a claim was overruled, the same bytes may be news.
    A token that belongs to another generation is Forbidden, and nothing of its callback is kept.
    """
    if len(callbacks) > 1:
        return _receive(connection, callbacks)  # if it raises, they are tried one by one
    try:
        with connection.begin_nested():
            return _receive(connection, callbacks)
    except Exception as error:
        if is_database_failure(error):
            raise  # and tried again
        return [_only_kept(connection, callbacks[0], error)]


def refold(connection: Connection, delivery_id: str, at: datetime) -> Receipt | None:
    """Fold a delivery that is in the inbox again; None if it is not."""
    body = deliveries.body_of(connection, delivery_id)
    if body is None:
        return None
    seen = _readable(body, at)
    try:
        with connection.begin_nested():
            outcome = _fold_again(connection, delivery_id, seen, at)
    except Exception as error:
        if is_database_failure(error):
            raise
        outcome = Outcome.KEPT
        generation_id = None if isinstance(seen, Unreadable) else seen.id
        deliveries.fail_delivery(
            connection, delivery_id, generation_id, _why(error, delivery_id, generation_id)
        )
    return _receipt(delivery_id, outcome, seen)


def _receive(connection: Connection, callbacks: Sequence[Callback]) -> list[Receipt | Forbidden]:
    told = [(callback, _readable(callback.body, callback.at)) for callback in callbacks]
    owners = _owners(connection, told)
    receipts = iter(_keep_and_fold(connection, [each for each in told if _may(*each, owners)]))
    return [next(receipts) if _may(*each, owners) else _forbidden() for each in told]


def _owners(
    connection: Connection, told: Sequence[tuple[Callback, Observation | Unreadable]]
) -> dict[str, str]:
    single = [
        (callback.grant.nonce, seen.id)
        for callback, seen in told
        if callback.grant.nonce and isinstance(seen, Observation)
    ]
    return deliveries.bind(connection, single, told[0][0].at)


def _may(callback: Callback, seen: Observation | Unreadable, owners: Mapping[str, str]) -> bool:
    """Whether the token may speak of that generation; of none, each may."""
    nonce = callback.grant.nonce
    return nonce is None or isinstance(seen, Unreadable) or owners[nonce] == seen.id


def _keep_and_fold(
    connection: Connection, told: Sequence[tuple[Callback, Observation | Unreadable]]
) -> list[Receipt]:
    arrivals = deliveries.arrivals(
        connection, [(callback.body, callback.at) for callback, _ in told]
    )
    both = [(arrival, seen) for arrival, (_, seen) in zip(arrivals, told, strict=True)]
    heard = [
        ReceivedObservation(seen, a.at, a.id) for a, seen in both if isinstance(seen, Observation)
    ]
    answers = iter(observe(connection, heard))
    for arrival, seen in both:
        if isinstance(seen, Unreadable):
            arrival.error = str(seen)
        else:
            arrival.generation_id, (_, arrival.outcome) = seen.id, next(answers)
    deliveries.keep(connection, arrivals)
    return [_receipt(arrival.id, arrival.outcome, seen) for arrival, seen in both]


def _only_kept(connection: Connection, callback: Callback, error: Exception) -> Receipt:
    """A bug of ours must not lose what Luma said."""
    seen = _readable(callback.body, callback.at)
    [arrival] = deliveries.arrivals(connection, [(callback.body, callback.at)])
    arrival.generation_id = None if isinstance(seen, Unreadable) else seen.id
    arrival.error = _why(error, arrival.id, arrival.generation_id)
    deliveries.keep(connection, [arrival])
    return _receipt(arrival.id, Outcome.KEPT, seen)


def _fold_again(
    connection: Connection, delivery_id: str, seen: Observation | Unreadable, at: datetime
) -> Outcome:
    if isinstance(seen, Unreadable):
        deliveries.fail_delivery(connection, delivery_id, None, str(seen))
        return Outcome.KEPT
    [(_, outcome)] = observe(connection, [ReceivedObservation(seen, at, delivery_id)])
    deliveries.settle_delivery(connection, delivery_id, seen.id, outcome, at)
    return outcome


def _readable(body: bytes, at: datetime) -> Observation | Unreadable:
    try:
        return read(parse_object(body), Source.CALLBACK, at)
    except Unreadable as error:
        return error.with_traceback(None)  # whose frames keep the body in memory


def _receipt(delivery_id: str, outcome: Outcome, seen: Observation | Unreadable) -> Receipt:
    if isinstance(seen, Unreadable):
        return Receipt(delivery_id, outcome, unreadable=seen)
    return Receipt(delivery_id, outcome, seen.id)


def _why(error: Exception, delivery_id: str, generation_id: str | None) -> str:
    log.error("fold_failed", delivery_id=delivery_id, generation_id=generation_id, exc_info=error)
    return f"{type(error).__name__}: {getattr(error, 'orig', error)}"


def _forbidden() -> Forbidden:
    return Forbidden("This token belongs to another generation.")
