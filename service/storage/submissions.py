"""The journal of creates in SQL: each is written before its first byte is sent to Luma."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    exists,
    or_,
    select,
    update,
)

from service.domain.submission import REPEATED_WITHIN, State, Submission
from service.storage.engine import Conflict, batches
from service.storage.pruning import delete_old
from service.storage.tables import SubmissionRow

SUBMISSIONS: Table = SubmissionRow.__table__  # type: ignore[attr-defined]

_COLUMNS = [SUBMISSIONS.c[name] for name in Submission._fields]
_OPEN = (State.SENT, State.UNKNOWN)
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500

# What is set comes with the parameters: a statement that is built anew costs more than it takes.
_BY_ID = update(SUBMISSIONS).where(SUBMISSIONS.c.id == bindparam("submission_id"))
_UNLINKED = _BY_ID.where(SUBMISSIONS.c.generation_id.is_(None))


def begin(
    connection: Connection, new: Submission, *, is_retry: bool, taken: Collection[str] = ()
) -> Submission:
    """Write a create, unless it repeats an earlier one.

    Args:
        connection: of the current transaction.
        new: the create.
        is_retry: whether an SDK says that it has sent this before.
        taken: creates whose answers other retries are waiting for. A caller that creates several
            times with one body gets a different one for each retry.

    Returns:
        `new` if it was written, else the earlier create.

    Raises:
        Conflict: another instance has just freed the key; retry the transaction.
    """
    if new.key_digest:
        _free_expired_key(connection, new)
    elif is_retry and (earlier := _unanswered(connection, new, taken)):
        return earlier
    written = batches.insert(connection, SUBMISSIONS, [new._asdict()], batches.skip)
    return new if written else _with_key(connection, new)


def settle(
    connection: Connection,
    submission: Submission,
    *,
    state: State,
    status: int,
    answer: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    generation_id: str | None = None,
    free_key: bool = False,
    search: bool = False,
    now: datetime,
) -> None:
    """Store what became of a create.

    If its generation has been found meanwhile, and Luma's answer does not name one, that stays.

    Args:
        search: whether there may be a generation of which Luma's answer says nothing.
    """
    values: dict[str, Any] = {
        "status": status,
        "answer": answer,
        "headers": headers,
        "settled_at": now,
    }
    if free_key:
        values["key_digest"] = None
    outcome = {
        "state": state,
        "generation_id": generation_id,
        "next_search_at": now if search and submission.nonce else None,
    }
    of_it = {"submission_id": submission.id}
    if generation_id:
        connection.execute(_BY_ID, {**of_it, **values, **outcome})
    else:
        connection.execute(_BY_ID, {**of_it, **values})
        connection.execute(_UNLINKED, {**of_it, **outcome})


def link(connection: Connection, owners: Mapping[str, str], now: datetime) -> dict[str, Submission]:
    """Record which generations creates have made.

    Args:
        connection: of the current transaction.
        owners: the generation of each nonce.
        now: the current time.

    Returns:
        The create of each nonce that is of one.
    """
    if not owners:
        return {}
    rows = connection.execute(select(*_COLUMNS).where(SUBMISSIONS.c.nonce.in_(owners))).mappings()
    found = {str(row["nonce"]): _as_submission(row) for row in rows}
    for nonce, submission in sorted(found.items()):
        if submission.generation_id is None:
            values = {
                "generation_id": owners[nonce],
                "state": State.ACCEPTED,
                "next_search_at": None,
                "settled_at": submission.settled_at or now,
            }
            connection.execute(_BY_ID, {"submission_id": submission.id, **values})
    return found


def find(connection: Connection, submission_id: str) -> Submission | None:
    """Return a create; None if there is none with this id."""
    return _first(connection, SUBMISSIONS.c.id == submission_id)


def of_generation(connection: Connection, generation_id: str) -> Submission | None:
    """Return the create that made a generation; None if there is none."""
    return _first(connection, SUBMISSIONS.c.generation_id == generation_id)


def mark_delivered(connection: Connection, ids: Collection[str]) -> None:
    """Record that callers have received their answers."""
    marks = [{"submission_id": id_, "delivered": True} for id_ in sorted(ids)]
    connection.execute(_BY_ID, marks)


def any_due(connection: Connection, now: datetime) -> bool:
    """Whether any create is due to be looked for."""
    due = exists().where(SUBMISSIONS.c.next_search_at <= now)
    return connection.execute(select(due)).scalar_one()


def claim_searches(connection: Connection, now: datetime, until: datetime) -> list[Submission]:
    """Return creates that are due to be looked for, and claim them until `until`.

    Creates that were under way when their instance died become `unknown`. Those that Luma was given
    no callback URL with cannot be found, and are not claimed again.
    """
    due = select(*_COLUMNS).where(SUBMISSIONS.c.next_search_at <= now).limit(100)
    rows = connection.execute(due.with_for_update(skip_locked=True)).mappings().all()
    found = [_as_submission(row) for row in rows]
    for each in found:
        is_lost = each.state is State.SENT and not each.is_under_way(now)
        state = State.UNKNOWN if is_lost else each.state
        claimed = until if each.nonce else None
        values = {"next_search_at": claimed, "state": state, "searches": each.searches + 1}
        connection.execute(_BY_ID, {"submission_id": each.id, **values})
    return found


def schedule_search(connection: Connection, submission_id: str, at: datetime | None) -> None:
    """Set when to look for a create again, unless it has been found meanwhile."""
    connection.execute(_UNLINKED, {"submission_id": submission_id, "next_search_at": at})


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` creates from before `before`, and return their number."""
    return delete_old(connection, SUBMISSIONS.c.id, SUBMISSIONS.c.created_at, before, limit)


def _free_expired_key(connection: Connection, new: Submission) -> None:
    earlier = _first(connection, SUBMISSIONS.c.key_digest == new.key_digest)
    if earlier and earlier.has_expired(new.created_at):
        connection.execute(_BY_ID, {"submission_id": earlier.id, "key_digest": None})


def _with_key(connection: Connection, new: Submission) -> Submission:
    """Return the create that has the key, or `new` itself.

    The database may have committed `new` although the connection broke before it said so.
    """
    has_key = SUBMISSIONS.c.key_digest == new.key_digest
    earlier = _first(connection, has_key if new.key_digest else SUBMISSIONS.c.id == new.id)
    if earlier is None:
        raise Conflict
    return earlier


def _unanswered(
    connection: Connection, new: Submission, taken: Collection[str]
) -> Submission | None:
    """Return the newest create of this caller with this body whose answer did not reach it.

    A 429 or 5xx is no answer to wait for: after it, a retry is a new attempt.
    """
    status = SUBMISSIONS.c.status
    is_final = and_(status != _TOO_MANY_REQUESTS, status < _SERVER_ERROR)
    undelivered = and_(
        SUBMISSIONS.c.delivered.is_(False), or_(SUBMISSIONS.c.state == State.ACCEPTED, is_final)
    )
    found = select(*_COLUMNS).where(
        SUBMISSIONS.c.token_digest == new.token_digest,
        SUBMISSIONS.c.body_digest == new.body_digest,
        SUBMISSIONS.c.key_digest.is_(None),
        SUBMISSIONS.c.created_at > new.created_at - REPEATED_WITHIN,
        or_(SUBMISSIONS.c.state.in_(_OPEN), undelivered),
    )
    return _first_of(connection, found.order_by(SUBMISSIONS.c.id.in_(taken)))


def _first(connection: Connection, *conditions: Any) -> Submission | None:
    return _first_of(connection, select(*_COLUMNS).where(*conditions))


def _first_of(connection: Connection, found: Select[Any]) -> Submission | None:
    newest = found.order_by(SUBMISSIONS.c.created_at.desc())
    row = connection.execute(newest.limit(1)).mappings().first()
    return _as_submission(row) if row else None


def _as_submission(row: Mapping[Any, Any]) -> Submission:
    return Submission(**{**row, "state": State(row["state"])})
