"""What became of a create, and how it is stored: journal, row and event in one transaction."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from service.domain.generation import Observation
from service.domain.submission import State, Submission, frees_key
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


class NotFolded(Exception):
    """Folding the answer to a create raised an error of ours, its cause."""


def settle(
    connection: Connection,
    submission: Submission,
    outcome: Outcome,
    now: datetime,
    *,
    folds: bool = True,
) -> None:
    """Store the outcome of a create, and the generation that Luma named.

    Args:
        connection: of the current transaction.
        submission: the create.
        outcome: what became of it.
        now: the current time.
        folds: False after `NotFolded`: only the journal is written.

    Raises:
        NotFolded: there is a bug in folding; it must not lose the answer to the create.
    """
    observation, answer = outcome.observation, outcome.answer
    if observation and submission.nonce:
        deliveries.rebind(connection, submission.nonce, observation.id, now)
    if observation and folds:
        _fold(connection, observation, now)
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


def _fold(connection: Connection, observation: Observation, now: datetime) -> None:
    """Store the generation.

    There is no savepoint, because SQLite copies every page that changes within one, and failures
    are rare.
    """
    try:
        observe(connection, [ReceivedObservation(observation, now)])
    except Exception as error:
        if is_database_failure(error):
            raise  # the caller retries the transaction
        raise NotFolded from error
