"""How long generations took is counted with the change that ends them, and only then."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, event

from service.domain.generation import Observation, Source
from service.storage import durations, generations
from service.tracking.callback_tokens import Grant
from service.tracking.callbacks import Callback, receive
from service.tracking.observe import ReceivedObservation
from service.tracking.observe import observe as observe_all
from tests.acceptance.storm import life_of
from tests.single import observe

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)
KINDS = ["agents/video", "agents/video/ray-3.2", "agents/video/ray-3.2/1080p/10s"]


@pytest.fixture(autouse=True)
def _empty(connection: Connection) -> None:
    connection.execute(delete(durations.DURATIONS))
    connection.execute(delete(generations.GENERATIONS))


def reported(state: str, source: Source = Source.RECONCILE, **given: Any) -> Observation:
    values: dict[str, Any] = {
        "id": "a",
        "upstream": "agents",
        "generation_type": "video",
        "operation": "video",
        "model": "ray-3.2",
        "created_at": NOON,
        "request": {"video": {"resolution": "1080p", "duration": "10s"}},
    }
    return Observation(state=state, source=source, **{**values, **given})


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def counted(connection: Connection) -> dict[str, int]:
    """Return how many durations are counted for each kind."""
    found = durations.find(connection, KINDS)
    return {kind: sum(counts.values()) for kind, counts in found.items()}


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_an_end_is_counted_once_for_each_of_its_kinds(connection: Connection, state: str) -> None:
    observe(connection, reported("queued", Source.SUBMIT), at(0))
    observe(connection, reported("processing"), at(100))
    assert counted(connection) == {}
    for seconds in (110, 111):
        observe(connection, reported(state), at(seconds))
    assert counted(connection) == dict.fromkeys(KINDS, 1)
    [bucket] = durations.find(connection, KINDS)[KINDS[0]]
    assert 1.15 ** (bucket - 1) <= 110
    assert 1.15**bucket >= 100


def test_it_is_counted_in_the_transaction_of_the_change(connection: Connection) -> None:
    observe(connection, reported("queued", Source.SUBMIT), at(0))
    with connection.begin_nested() as savepoint:
        observe(connection, reported("completed"), at(60))
        savepoint.rollback()
    assert counted(connection) == {}


def test_what_was_never_seen_open_is_not_counted(connection: Connection) -> None:
    observe(connection, reported("completed", Source.BACKFILL), at(60))
    assert counted(connection) == {}


def test_what_is_learnt_decides_when_the_next_one_is_checked(connection: Connection) -> None:
    given: dict[str, Any] = {"created_at": at(1000)}
    durations.add(connection, [(KINDS[2], 12)] * 50)  # about 5 seconds
    fast, _ = observe(connection, reported("queued", id="fast", **given), at(1000))
    plain, _ = observe(connection, reported("queued", id="plain", request=None, **given), at(1000))
    assert fast.next_check_at
    assert plain.next_check_at
    assert fast.next_check_at < at(1005) < plain.next_check_at


def statements(connection: Connection, batch: list[ReceivedObservation]) -> list[str]:
    """Return the statements about durations that a batch costs."""
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if "durations" in statement:
            sent.append(statement.split(maxsplit=1)[0])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        observe_all(connection, batch)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return sent


def test_a_batch_costs_one_query_for_each_kind_and_one_insert(connection: Connection) -> None:
    ids = [f"g-{n}" for n in range(20)]
    opened = [ReceivedObservation(reported("queued", id=id_), at(0)) for id_ in ids]
    ended = [ReceivedObservation(reported("completed", id=id_), at(60)) for id_ in ids]
    assert statements(connection, opened) == ["SELECT"]
    assert statements(connection, ended) == ["SELECT", "INSERT"]
    assert counted(connection) == dict.fromkeys(KINDS, 20)


def test_a_callback_costs_nothing_more(connection: Connection) -> None:
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        bodies = life_of("of-dream-machine", "queued", "dreaming", "completed")
        receive(connection, [Callback(body, Grant(), NOON) for body in bodies])
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert sent
    assert not [statement for statement in sent if "durations" in statement]
