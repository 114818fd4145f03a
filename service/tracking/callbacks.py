"""Callbacks: each is stored as a delivery, and folded in the same transaction.

A delivery that cannot be folded is stored anyway, and folded again later.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from service.domain.generation import TEST_PREFIX, Observation, Outcome, Source
from service.domain.redaction import body_without_tokens
from service.domain.submission import Submission, as_created
from service.errors import Forbidden, Unreadable
from service.logs import log
from service.luma.bodies import parse_object
from service.luma.dream_machine import read
from service.storage import deliveries, submissions
from service.storage.engine import is_database_failure
from service.tracking.callback_tokens import Grant
from service.tracking.observe import ReceivedObservation, observe


class Callback(NamedTuple):
    """One POST to a callback URL with a valid token."""

    body: bytes
    grant: Grant
    received_at: datetime


class OpenedCallback(NamedTuple):
    """A callback, its body without tokens, and what it reports."""

    callback: Callback
    body: bytes
    parsed: Observation | Unreadable


class Receipt(NamedTuple):
    """The result of one callback."""

    delivery_id: str
    outcome: Outcome
    generation_id: str | None = None
    unreadable: Unreadable | None = None
    """Why the body could not be parsed."""


def receive(connection: Connection, callbacks: Sequence[Callback]) -> list[Receipt | Forbidden]:
    """Store callbacks as deliveries, and fold them. One that cannot be folded is stored anyway.

    Duplicates are folded again: after a claim was overruled, the same bytes may change the row.

    Returns:
        For each callback a receipt, or Forbidden if its token is bound to another generation. In
        that case nothing of the callback is stored.
    """
    if len(callbacks) > 1:
        return _receive(connection, callbacks)  # if it raises, the caller retries one by one
    try:
        with connection.begin_nested():
            return _receive(connection, callbacks)
    except Exception as error:
        if is_database_failure(error):
            raise  # the caller retries the transaction
        return [_store_unfolded(connection, callbacks[0], error)]


def refold(connection: Connection, delivery_id: str, at: datetime) -> Receipt | None:
    """Fold a delivery of the inbox again; returns None if there is no such delivery."""
    body = deliveries.body_of(connection, delivery_id)
    if body is None:
        return None
    parsed = _parse(body, at)
    try:
        with connection.begin_nested():
            outcome = _fold_delivery(connection, delivery_id, parsed, at)
    except Exception as error:
        if is_database_failure(error):
            raise
        outcome = Outcome.KEPT
        generation_id = _generation_id(parsed)
        deliveries.fail_delivery(
            connection, delivery_id, generation_id, _log_failure(error, delivery_id, generation_id)
        )
    return _receipt(delivery_id, outcome, parsed)


def _receive(connection: Connection, callbacks: Sequence[Callback]) -> list[Receipt | Forbidden]:
    batch = [_opened(callback) for callback in callbacks]
    owners = _bind_tokens(connection, batch)
    created = submissions.link(connection, owners, callbacks[0].received_at)
    allowed = [_with_create(each, created) for each in batch if _is_allowed(each, owners)]
    receipts = iter(_store_and_fold(connection, allowed))
    return [next(receipts) if _is_allowed(each, owners) else _forbidden() for each in batch]


def _opened(callback: Callback) -> OpenedCallback:
    body = body_without_tokens(callback.body)
    return OpenedCallback(callback, body, _parse(body, callback.received_at))


def _bind_tokens(connection: Connection, batch: Sequence[OpenedCallback]) -> dict[str, str]:
    """Bind each unused single token to its generation; returns the generation of each nonce."""
    single = [
        (each.callback.grant.nonce, each.parsed.id)
        for each in batch
        if each.callback.grant.nonce and isinstance(each.parsed, Observation)
    ]
    return deliveries.bind(connection, single, batch[0].callback.received_at)


def _with_create(opened: OpenedCallback, created: Mapping[str, Submission]) -> OpenedCallback:
    """Add what is known of a generation because it was created through us."""
    submission = created.get(opened.callback.grant.nonce or "")
    if submission is None or isinstance(opened.parsed, Unreadable):
        return opened
    return opened._replace(parsed=as_created(opened.parsed, submission))


def _is_allowed(opened: OpenedCallback, owners: Mapping[str, str]) -> bool:
    """Return whether the token allows this generation; a body without one is always allowed."""
    nonce, parsed = opened.callback.grant.nonce, opened.parsed
    return nonce is None or isinstance(parsed, Unreadable) or owners[nonce] == parsed.id


def _store_and_fold(connection: Connection, batch: Sequence[OpenedCallback]) -> list[Receipt]:
    bodies = [(each.callback.body, each.body, each.callback.received_at) for each in batch]
    arrivals = deliveries.prepare(connection, bodies)
    pairs = [(arrival, each.parsed) for arrival, each in zip(arrivals, batch, strict=True)]
    observations = [
        ReceivedObservation(parsed, arrival.at, arrival.id)
        for arrival, parsed in pairs
        if isinstance(parsed, Observation) and not _is_test(parsed)
    ]
    results = iter(observe(connection, observations))
    for arrival, parsed in pairs:
        if isinstance(parsed, Unreadable):
            arrival.error = str(parsed)
            continue
        told = (parsed.id, Outcome.UNCHANGED) if _is_test(parsed) else next(results)
        arrival.generation_id, arrival.outcome = parsed.id, told[1]
    deliveries.add(connection, arrivals)
    return [_receipt(arrival.id, arrival.outcome, parsed) for arrival, parsed in pairs]


def _store_unfolded(connection: Connection, callback: Callback, error: Exception) -> Receipt:
    """Store a callback whose folding raised an error, so that a bug in our code loses no data."""
    _, body, parsed = _opened(callback)
    [arrival] = deliveries.prepare(connection, [(callback.body, body, callback.received_at)])
    arrival.generation_id = _generation_id(parsed)
    arrival.error = _log_failure(error, arrival.id, arrival.generation_id)
    deliveries.add(connection, [arrival])
    return _receipt(arrival.id, Outcome.KEPT, parsed)


def _fold_delivery(
    connection: Connection, delivery_id: str, parsed: Observation | Unreadable, at: datetime
) -> Outcome:
    if isinstance(parsed, Unreadable):
        deliveries.fail_delivery(connection, delivery_id, None, str(parsed))
        return Outcome.KEPT
    outcome = Outcome.UNCHANGED
    if not _is_test(parsed):
        [(_, outcome)] = observe(connection, [ReceivedObservation(parsed, at, delivery_id)])
    deliveries.settle_delivery(connection, delivery_id, parsed.id, outcome, at)
    return outcome


def _parse(body: bytes, at: datetime) -> Observation | Unreadable:
    try:
        return read(parse_object(body), Source.CALLBACK, at)
    except Unreadable as error:
        return error.with_traceback(None)  # its frames reference the body


def _is_test(parsed: Observation) -> bool:
    """Whether it is a test of the way that callbacks take, which is kept but tells nothing."""
    return parsed.id.startswith(TEST_PREFIX)


def _generation_id(parsed: Observation | Unreadable) -> str | None:
    return None if isinstance(parsed, Unreadable) else parsed.id


def _receipt(delivery_id: str, outcome: Outcome, parsed: Observation | Unreadable) -> Receipt:
    if isinstance(parsed, Unreadable):
        return Receipt(delivery_id, outcome, unreadable=parsed)
    return Receipt(delivery_id, outcome, parsed.id)


def _log_failure(error: Exception, delivery_id: str, generation_id: str | None) -> str:
    """Log an error in folding; returns its text for the delivery."""
    log.error("fold_failed", delivery_id=delivery_id, generation_id=generation_id, exc_info=error)
    return f"{type(error).__name__}: {getattr(error, 'orig', error)}"


def _forbidden() -> Forbidden:
    return Forbidden(
        "This callback URL is bound to another generation.",
        "Use a new single-use callback URL for each generation, or the reusable one.",
    )
