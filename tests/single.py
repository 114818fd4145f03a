"""Telling the database one thing at a time, where a test is not about many."""

from datetime import datetime

from sqlalchemy import Connection, Engine

from service.domain.generation import Generation, Observation, Outcome
from service.errors import Forbidden
from service.storage import events, generations, migrating
from service.storage.engine import Conflict
from service.tracking.callback_tokens import Grant
from service.tracking.callbacks import Callback, Receipt, receive
from service.tracking.observe import ReceivedObservation
from service.tracking.observe import observe as observe_all


def upgrade(engine: Engine) -> migrating.Migrated:
    """Migrate what an engine stands for."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        return migrating.upgrade(connection)


def observe(connection: Connection, seen: Observation, at: datetime) -> tuple[Generation, Outcome]:
    """Fold one observation."""
    [answer] = observe_all(connection, [ReceivedObservation(seen, at)])
    return answer


def record(connection: Connection, body: bytes, grant: Grant, at: datetime) -> Receipt:
    """Take in one callback."""
    [receipt] = receive(connection, [Callback(body, grant, at)])
    if isinstance(receipt, Forbidden):
        raise receipt
    return receipt


def save(connection: Connection, before: Generation | None, after: Generation) -> bool:
    """Write one row; False if somebody else was faster."""
    try:
        generations.save(connection, [generations.Change(before, after)])
    except Conflict:
        return False
    return True


def add_event(
    connection: Connection, before: Generation | None, after: Generation, delivery_id: str | None
) -> None:
    """Note one change."""
    events.add(connection, [generations.Change(before, after, delivery_id)])
