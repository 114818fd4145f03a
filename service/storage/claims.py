"""Claims in SQL: which messages may be sent, by whom, and what became of them.

Of the unfinished messages to one endpoint about one generation only the first may be sent; the
others become due when it ends.

The functions take a connection. `service.storage.engine` runs them in its transactions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, text, update

from service.storage import attempts
from service.storage.attempts import Attempt
from service.storage.engine import batches
from service.storage.generations import GENERATIONS
from service.storage.outbox import CREATORS, OUTBOX, Outcome
from service.storage.webhooks import WEBHOOKS


@dataclass(frozen=True, slots=True)
class Message:
    """A claimed message."""

    seq: int
    id: str
    webhook_id: str
    generation_id: str
    destination: str
    state: str
    tries: int
    next_at: datetime
    """The end of the claim."""
    body: bytes
    url: str | None
    """Where to send it; None if the endpoint was deleted or disabled."""


class Finished(NamedTuple):
    """The end of a claim: the attempt, if there was one, and what becomes of the message."""

    message: Message
    at: datetime
    attempt: Attempt | None
    outcome: Outcome | None
    """None: the message is tried again at `attempt.next_at`."""


_FIELDS = ("seq", "id", "webhook_id", "generation_id", "destination", "state", "tries", "body")
_EARLIER = OUTBOX.alias()
_DUE = (
    select(OUTBOX.c.seq)
    .where(OUTBOX.c.destination == bindparam("destination"), OUTBOX.c.next_at <= bindparam("now"))
    .order_by(OUTBOX.c.next_at, OUTBOX.c.seq)
    .limit(bindparam("limit"))
)
_DUE_DESTINATIONS = text(
    """
    WITH RECURSIVE waiting(destination) AS (
        SELECT min(destination) FROM outbox WHERE next_at IS NOT NULL
        UNION ALL
        SELECT (
            SELECT min(destination) FROM outbox
            WHERE next_at IS NOT NULL AND destination > waiting.destination
        ) FROM waiting WHERE waiting.destination IS NOT NULL
    )
    SELECT destination FROM waiting WHERE EXISTS (
        SELECT 1 FROM outbox WHERE outbox.destination = waiting.destination AND next_at <= :now
    )
    """
).bindparams(bindparam("now", type_=OUTBOX.c.next_at.type))
_FIRST_OF_PAIR = (
    select(func.min(_EARLIER.c.seq))
    .where(
        _EARLIER.c.webhook_id == OUTBOX.c.webhook_id,
        _EARLIER.c.generation_id == OUTBOX.c.generation_id,
        _EARLIER.c.next_at.is_not(None),
    )
    .scalar_subquery()
)
_FINISH = (
    update(OUTBOX)
    .where(OUTBOX.c.seq == bindparam("message"), OUTBOX.c.next_at == bindparam("claimed_until"))
    .values(tries=bindparam("tried"), next_at=bindparam("due"), outcome=bindparam("ended"))
)
_RELEASE_FOLLOWERS = (
    update(OUTBOX)
    .where(
        OUTBOX.c.webhook_id == bindparam("webhook"),
        OUTBOX.c.generation_id == bindparam("generation"),
        OUTBOX.c.seq > bindparam("message"),
        OUTBOX.c.next_at.is_not(None),
    )
    .values(next_at=bindparam("due"))
)


def due_destinations(connection: Connection, now: datetime) -> list[str]:
    """Return the destinations that messages are due for.

    It takes one step in the index for each destination, however many messages wait for it.
    """
    return list(connection.execute(_DUE_DESTINATIONS, {"now": now}).scalars())


def due(connection: Connection, now: datetime, free: Mapping[str, int]) -> list[int]:
    """Return the `seq` of messages that may be due, the longest due of each destination first.

    Args:
        connection: of the current transaction.
        now: the current time.
        free: for each destination the maximum number of messages.
    """
    found = list[int]()
    for destination, limit in free.items():
        given = {"destination": destination, "now": now, "limit": limit}
        found += connection.execute(_DUE, given).scalars()
    return found


def claim(
    connection: Connection, seqs: Sequence[int], now: datetime, until: datetime
) -> list[Message]:
    """Claim those of the messages that are due and may be sent, and return them.

    Claiming moves `next_at` to `until` in the same transaction, so that no other instance sends the
    same message before.
    """
    rows = connection.execute(
        select(*(OUTBOX.c[name] for name in _FIELDS), _FIRST_OF_PAIR.label("first"))
        .where(OUTBOX.c.seq.in_(seqs), OUTBOX.c.next_at <= now)
        .order_by(OUTBOX.c.seq)
        .with_for_update(skip_locked=True, of=OUTBOX)  # another instance is claiming those
    ).mappings()
    found = rows.all()
    claimed = [row for row in found if row["first"] == row["seq"]]
    _set_due(connection, [row["seq"] for row in claimed], until)
    _postpone(connection, [row for row in found if row["first"] != row["seq"]], now)
    urls = _urls(connection, claimed)
    return [_message(row, until, urls) for row in claimed]


def claim_one(connection: Connection, seq: int, until: datetime) -> Message | None:
    """Claim a message even if it is finished or not yet due, and start its tries anew."""
    row = (
        connection.execute(
            select(*(OUTBOX.c[name] for name in _FIELDS))
            .where(OUTBOX.c.seq == seq)
            .with_for_update()
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    anew = {"next_at": until, "tries": 0, "outcome": None}
    connection.execute(update(OUTBOX).where(OUTBOX.c.seq == seq).values(anew))
    return _message({**row, "tries": 0}, until, _urls(connection, [row]))


def _set_due(connection: Connection, seqs: Sequence[int], at: datetime) -> None:
    if seqs:
        connection.execute(update(OUTBOX).where(OUTBOX.c.seq.in_(seqs)).values(next_at=at))


def _postpone(connection: Connection, rows: Sequence[Mapping[Any, Any]], now: datetime) -> None:
    """Make messages due when the one before them is, so that they are not looked at until then.

    The one before is locked: if another instance is just finishing it, that instance makes the
    others due, and nothing may be overwritten.
    """
    if not rows:
        return
    firsts = {row["first"] for row in rows}
    found = connection.execute(
        select(OUTBOX.c.seq, OUTBOX.c.next_at)
        .where(OUTBOX.c.seq.in_(firsts), OUTBOX.c.next_at > now)
        .with_for_update(skip_locked=True)
    )
    for first, at in found.all():
        _set_due(connection, [row["seq"] for row in rows if row["first"] == first], at)


def _urls(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> dict[str, str | None]:
    """Return the URLs of endpoints by their id, and of creators by the generation's id."""
    endpoints = {row["webhook_id"] for row in rows} - {CREATORS}
    created = {row["generation_id"] for row in rows if row["webhook_id"] == CREATORS}
    urls: dict[str, str | None] = {}
    if endpoints:
        found = batches.find(connection, WEBHOOKS.c.id, endpoints, ("id", "url", "enabled"))
        urls |= {row["id"]: row["url"] for row in found if row["enabled"]}
    if created:
        names = ("id", "callback_url")
        found = batches.find(connection, GENERATIONS.c.id, created, names)
        urls |= {f"{CREATORS}:{row['id']}": row["callback_url"] for row in found}
    return urls


def _message(row: Mapping[Any, Any], until: datetime, urls: Mapping[str, str | None]) -> Message:
    key = row["webhook_id"] or f"{CREATORS}:{row['generation_id']}"
    values = {name: row[name] for name in _FIELDS}
    return Message(**values, next_at=until, url=urls.get(key))


def finish(connection: Connection, finished: Sequence[Finished]) -> list[None]:
    """Record attempts, and end the claims of their messages.

    A claim that has run out ends nothing: the message is another instance's by now.
    """
    ordered = sorted(finished, key=lambda each: each.message.seq)  # one lock order: no deadlock
    attempts.add(connection, [(each.message.seq, each.attempt) for each in ordered if each.attempt])
    held = _held(connection, ordered)
    if held:
        connection.execute(_FINISH, [_ending(each) for each in held])
        connection.execute(_RELEASE_FOLLOWERS, [_release(each) for each in held])
    for each in ordered:
        if each.outcome is Outcome.GONE:
            which = WEBHOOKS.c.id == each.message.webhook_id
            connection.execute(update(WEBHOOKS).where(which).values(enabled=False))
    return [None for _ in finished]


def _held(connection: Connection, finished: Sequence[Finished]) -> list[Finished]:
    """Return those whose claims have not been taken over by another instance."""
    seqs = [each.message.seq for each in finished]
    rows = connection.execute(
        select(OUTBOX.c.seq, OUTBOX.c.next_at)
        .where(OUTBOX.c.seq.in_(seqs))
        .order_by(OUTBOX.c.seq)
        .with_for_update()
    )
    claimed = {row.seq: row.next_at for row in rows}
    return [each for each in finished if claimed.get(each.message.seq) == each.message.next_at]


def _due_again(finished: Finished) -> datetime | None:
    return finished.attempt.next_at if finished.attempt else None


def _ending(finished: Finished) -> dict[str, Any]:
    message = finished.message
    return {
        "message": message.seq,
        "claimed_until": message.next_at,
        "tried": message.tries + 1,
        "due": _due_again(finished),
        "ended": finished.outcome,
    }


def _release(finished: Finished) -> dict[str, Any]:
    message = finished.message
    return {
        "webhook": message.webhook_id,
        "generation": message.generation_id,
        "message": message.seq,
        "due": _due_again(finished) or finished.at,
    }
