"""Stores observations: all reports from Luma pass through `observe`, in batches.

callbacks ─► receive ─► bind single tokens ─┐                    ┌─► inbox
fetch, reconcile ───────────────────────────┴─► observe ─► merge ┴─► rows ─► events ─► outbox

One transaction stores a whole batch. Every transaction takes its locks in the same order (tokens,
rows by id, durations by kind, deliveries by digest, the numbering of events, counters), so that
instances cannot deadlock.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from service.domain.durations import Estimates, kinds, learnt
from service.domain.generation import Generation, Observation, Outcome
from service.domain.merge import merge
from service.domain.schedule import check_after_callback, next_check
from service.luma.prices import estimate
from service.storage import archive, counters, durations, events, generations
from service.tracking.outbox import Step, add_messages, causes_messages


class ReceivedObservation(NamedTuple):
    """An observation, the time when it was received, and its delivery if it is from a callback."""

    observation: Observation
    received_at: datetime
    delivery_id: str | None = None
    scheduled: bool = False
    """Whether it is the result of a scheduled check."""


def observe(
    connection: Connection, batch: Sequence[ReceivedObservation]
) -> list[tuple[Generation, Outcome]]:
    """Fold observations into their rows, in the given order.

    Returns:
        For each observation, the row after folding it, and the outcome.

    Raises:
        Conflict: another instance has just written one of these rows; retry the transaction.
    """
    before = generations.lock(connection, {each.observation.id for each in batch})
    parents = _parents(connection, before, batch)
    current, recorded = dict(before), list[generations.Change]()
    estimates, seen = Estimates(partial(durations.find, connection)), list[tuple[str, int]]()
    results, steps = [], list[Step]()
    for each in batch:
        row = current.get(each.observation.id)
        after, outcome = _folded(row, each, parents, estimates)
        if row is None or after.rev > row.rev:
            recorded.append(generations.Change(row, after, each.delivery_id))
            seen += _learnt(row, after, each.received_at, estimates)
        if causes_messages(row, after):
            steps.append(Step(row, after, each.received_at))
        current[each.observation.id] = after
        results.append((after, outcome))
    all_rows = (generations.Change(before.get(id_), after) for id_, after in current.items())
    changes = [change for change in all_rows if change.after is not change.before]
    generations.save(connection, changes)
    durations.add(connection, seen)
    events.add(connection, recorded)
    counters.add(connection, changes)
    add_messages(connection, steps)
    if batch:
        archive.add(connection, changes, batch[-1].received_at)
    return results


def _parents(
    connection: Connection,
    rows: Mapping[str, Generation],
    batch: Sequence[ReceivedObservation],
) -> dict[str, Generation]:
    """Return the stored parents of the rows, by id; some prices depend on them."""
    ids = {each.observation.parent_id for each in batch}
    ids |= {row.parent_id for row in rows.values()}
    return generations.find_all(connection, {id_ for id_ in ids if id_})


def _learnt(
    before: Generation | None, after: Generation, at: datetime, estimates: Estimates
) -> Iterator[tuple[str, int]]:
    """Yield how long a generation took, as a kind and a bucket, once for each of its kinds."""
    if (ages := learnt(before, after, at)) is not None:
        bucket = estimates.of(after).draw(*ages)
        yield from ((kind, bucket) for kind in kinds(after))


def _folded(
    row: Generation | None,
    received: ReceivedObservation,
    parents: Mapping[str, Generation],
    estimates: Estimates,
) -> tuple[Generation, Outcome]:
    """Merge an observation into a row, estimate its price, and schedule the row's next check.

    A change reported by a callback restarts the schedule; a response from Luma advances it.
    """
    at = received.received_at
    after, outcome = merge(row, received.observation, at)
    if row is None or after.rev > row.rev:
        price = estimate(after, parents.get(after.parent_id or ""))
        after = after._replace(cost_usd_estimate=price)
    is_response = received.observation.authenticated
    if outcome is not Outcome.APPLIED and not is_response:
        return after._replace(next_check_at=check_after_callback(after, at)), outcome
    checks = max(row.checks + received.scheduled, 1) if row and is_response else 0
    due_at = next_check(after, at, checks, estimates)
    return after._replace(checks=checks, refusals=0, next_check_at=due_at), outcome
