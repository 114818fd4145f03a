"""What became of a create, and how it is stored: journal, row and event in one transaction."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from service.domain.generation import Observation
from service.domain.submission import State, Submission, frees_key
from service.logs import log
from service.storage import deliveries, submissions
from service.storage.engine import is_database_failure
from service.tracking.creating.answer import CreateAnswer
from service.tracking.observe import ReceivedObservation, observe


class Outcome(NamedTuple):
    """What became of a create."""

    state: State
    answer: CreateAnswer
    observation: Observation | None = None
    search: bool = False
    """Whether there may be a generation of which the answer says nothing."""


def settle(connection: Connection, submission: Submission, outcome: Outcome, now: datetime) -> None:
    """Store the outcome of a create, and the generation that Luma named."""
    observation, answer = outcome.observation, outcome.answer
    if observation:
        _fold(connection, submission, observation, now)
    submissions.settle(
        connection,
        submission,
        state=outcome.state,
        status=answer.status,
        answer=answer.body,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers},
        generation_id=observation and observation.id,
        free_key=outcome.state is State.REFUSED and frees_key(answer.status),
        search=outcome.search,
        now=now,
    )


def _fold(
    connection: Connection, submission: Submission, observation: Observation, now: datetime
) -> None:
    """Store the generation. A bug in folding must not lose the answer to the create."""
    if submission.nonce:
        deliveries.rebind(connection, submission.nonce, observation.id, now)
    try:
        with connection.begin_nested():
            observe(connection, [ReceivedObservation(observation, now)])
    except Exception as error:
        if is_database_failure(error):
            raise  # the caller retries the transaction
        log.error("fold_failed", delivery_id=None, generation_id=observation.id, exc_info=error)
