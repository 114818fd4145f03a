"""The one door: everything that Luma tells us comes in here, in the writer's transaction.

callback ─► record ─► inbox ─┐
fetch, submit, list ─────────┴─► observe ─► merge ─► compare-and-set ─► event
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from service import store
from service.errors import Unreadable
from service.generation import Generation, Observation, Outcome, Source
from service.luma.dream_machine import read
from service.luma.reading import parse_object
from service.merge import merge

_log = logging.getLogger("luma_tracker")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one callback. `unreadable` says why it is only kept."""

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
        if store.save(connection, before, after):
            break
    if before is None or after.rev > before.rev:
        store.add_event(connection, before, after, delivery_id)
    return after, outcome


def record(connection: Connection, body: bytes, at: datetime) -> Receipt:
    """Keep a callback's body, then fold it. What cannot be folded is kept all the same.

    Duplicates are folded again: after a claim was overruled, the same bytes may be news.
    """
    delivery_id = store.keep_delivery(connection, body, at)
    generation_id = None
    try:
        seen = read(parse_object(body), Source.CALLBACK, at)
        generation_id = seen.id
        with connection.begin_nested():
            _, outcome = observe(connection, seen, at, delivery_id)
    except Unreadable as error:
        store.fail_delivery(connection, delivery_id, None, str(error))
        return Receipt(Outcome.KEPT, unreadable=error)
    except OperationalError:
        raise  # the database's trouble, not the body's: nothing is kept, Luma tries again
    except Exception as error:  # noqa: BLE001 - a bug of ours must not lose what Luma said
        _log.exception("delivery %s could not be folded", delivery_id)
        store.fail_delivery(
            connection, delivery_id, generation_id, f"{type(error).__name__}: {error}"
        )
        return Receipt(Outcome.KEPT, generation_id)
    store.settle_delivery(connection, delivery_id, seen.id, outcome, at)
    return Receipt(outcome, seen.id)
