"""The inbox: each body is stored once, byte for byte, with its outcome, until it is pruned."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

from service.domain.generation import Outcome
from service.domain.redaction import body_without_tokens
from service.storage import deliveries
from service.tracking.callback_tokens import CallbackTokens

NOON = datetime(2026, 5, 30, 12, tzinfo=UTC)


def keep(connection: Connection, body: bytes, seconds: float = 0) -> str:
    """Add a delivery with that body, received some seconds after noon, and return its id."""
    arrivals = deliveries.prepare(
        connection, [(body, body_without_tokens(body), NOON + timedelta(seconds=seconds))]
    )
    deliveries.add(connection, arrivals)
    return arrivals[0].id


def find(connection: Connection, delivery_id: str) -> deliveries.Delivery:
    found = deliveries.find_delivery(connection, delivery_id)
    assert found
    return found


def listed(connection: Connection, **given: Any) -> list[str]:
    """Return the ids of a page of the inbox."""
    asked = {"outcomes": (), "generation_ids": (), "before": None, "limit": 100, **given}
    return [delivery.id for delivery in deliveries.deliveries(connection, **asked)]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"id": "a"}', b"\x00\xff\xfe", b"\x1f\x8b gzip", "ü".encode("latin-1")]
)
def test_a_body_is_kept_byte_for_byte(connection: Connection, body: bytes) -> None:
    delivery_id = keep(connection, body)
    assert deliveries.body_of(connection, delivery_id) == body


def test_what_is_new_is_kept_but_not_handled(connection: Connection) -> None:
    delivery_id = keep(connection, b"{}")
    assert find(connection, delivery_id) == deliveries.Delivery(
        delivery_id, NOON, None, Outcome.KEPT, None, 0, None
    )


def test_the_same_bytes_again_are_counted_and_not_kept_twice(connection: Connection) -> None:
    first = keep(connection, b"{}")
    assert [keep(connection, b"{}", n) for n in (1, 2, 3)] == [first] * 3
    assert keep(connection, b"{ }") != first
    found = find(connection, first)
    assert (found.duplicates, found.received_at) == (3, NOON)
    assert len(listed(connection)) == 2


def test_the_first_folding_stands(connection: Connection) -> None:
    delivery_id = keep(connection, b"{}")
    deliveries.settle_delivery(connection, delivery_id, "a", Outcome.APPLIED, NOON)
    later = NOON + timedelta(seconds=5)
    deliveries.settle_delivery(connection, delivery_id, "a", Outcome.UNCHANGED, later)
    deliveries.fail_delivery(connection, delivery_id, "a", "too late")
    found = find(connection, delivery_id)
    assert (found.outcome, found.handled_at, found.error) == (Outcome.APPLIED, NOON, None)


def test_what_could_not_be_folded_says_why_and_can_be_folded_later(connection: Connection) -> None:
    delivery_id = keep(connection, b"{}")
    deliveries.fail_delivery(connection, delivery_id, "a", "KeyError: 'x'")
    failed = find(connection, delivery_id)
    assert (failed.outcome, failed.error, failed.handled_at) == (
        Outcome.KEPT,
        "KeyError: 'x'",
        None,
    )
    deliveries.settle_delivery(connection, delivery_id, "a", Outcome.APPLIED, NOON)
    folded = find(connection, delivery_id)
    assert (folded.outcome, folded.error, folded.handled_at) == (Outcome.APPLIED, None, NOON)


def test_what_waits_to_be_folded_names_a_generation(connection: Connection) -> None:
    """A delivery that names no generation is stored but not retried: a retry cannot help."""
    unreadable, failed, folded = (
        keep(connection, body, n) for n, body in enumerate((b"1", b"2", b"3"))
    )
    deliveries.fail_delivery(connection, unreadable, None, "no id")
    deliveries.fail_delivery(connection, failed, "a", "a bug")
    deliveries.settle_delivery(connection, folded, "a", Outcome.APPLIED, NOON)
    assert deliveries.unfolded(connection, "", 10) == [(failed, "a")]
    found = deliveries.deliveries(
        connection, outcomes=("kept",), generation_ids=(), before=None, limit=10
    )
    assert [each.id for each in found] == [failed, unreadable]
    assert deliveries.oldest_unfolded(connection) == NOON + timedelta(seconds=1)


def test_the_oldest_is_folded_again_first(connection: Connection) -> None:
    ids = [keep(connection, str(n).encode(), n) for n in range(5)]
    for delivery_id in ids[::-1]:
        deliveries.fail_delivery(connection, delivery_id, "a", "a bug")
    waiting = [(delivery_id, "a") for delivery_id in ids]
    assert deliveries.unfolded(connection, "", 2) == waiting[:2]
    assert deliveries.unfolded(connection, ids[1], 2) == waiting[2:4]
    assert deliveries.unfolded(connection, ids[4], 2) == []
    assert deliveries.oldest_unfolded(connection) == NOON


def test_an_inbox_without_any_trouble_has_no_oldest(connection: Connection) -> None:
    deliveries.settle_delivery(connection, keep(connection, b"{}"), "a", Outcome.APPLIED, NOON)
    assert deliveries.oldest_unfolded(connection) is None


def test_pages_are_newest_first_and_filtered(connection: Connection) -> None:
    ids = [keep(connection, str(n).encode(), n) for n in range(6)]
    for n, delivery_id in enumerate(ids[:4]):
        outcome = Outcome.APPLIED if n % 2 else Outcome.STALE
        deliveries.settle_delivery(connection, delivery_id, f"g{n}", outcome, NOON)
    assert listed(connection) == ids[::-1]
    assert listed(connection, limit=2) == [ids[5], ids[4]]
    assert listed(connection, before=ids[4], limit=2) == [ids[3], ids[2]]
    assert listed(connection, outcomes=("applied",)) == [ids[3], ids[1]]
    assert listed(connection, outcomes=("applied", "kept")) == [ids[5], ids[4], ids[3], ids[1]]
    assert listed(connection, generation_ids=("g0", "g3")) == [ids[3], ids[0]]
    assert listed(connection, generation_ids=("g0",), outcomes=("applied",)) == []


def test_a_single_token_belongs_to_the_first_generation_that_it_speaks_of(
    connection: Connection,
) -> None:
    both = [("nonce", "a"), ("another", "b")]
    assert deliveries.bind(connection, [("nonce", "a"), ("nonce", "b")], NOON) == {"nonce": "a"}
    assert deliveries.bind(connection, [("nonce", "b")], NOON) == {"nonce": "a"}
    assert deliveries.bind(connection, both, NOON) == {"nonce": "a", "another": "b"}
    assert deliveries.bind(connection, [], NOON) == {}


def test_what_is_unknown_is_nothing(connection: Connection) -> None:
    assert deliveries.body_of(connection, "x") is None
    assert deliveries.find_delivery(connection, "x") is None


def test_pruning_takes_what_is_older_and_so_many_at_most(connection: Connection) -> None:
    ids = [keep(connection, str(n).encode(), n) for n in range(10)]
    edge = NOON + timedelta(seconds=7)
    assert deliveries.prune(connection, edge, 4) == 4
    assert deliveries.prune(connection, edge, 4) == 3
    assert deliveries.prune(connection, edge, 4) == 0
    assert listed(connection) == ids[:6:-1]


@pytest.mark.sqlite  # its query plans are readable
def test_looking_for_what_is_old_does_not_read_the_whole_inbox(connection: Connection) -> None:
    """The query runs every few seconds in a write transaction, and callbacks wait for it."""
    said = list[tuple[str, Any]]()

    @event.listens_for(connection, "before_cursor_execute")
    def _note(_c: object, _cursor: object, sql: str, parameters: Any, *_more: object) -> None:
        said.append((sql, parameters))

    deliveries.prune(connection, NOON, 200)
    sql, parameters = said[0]
    steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()
    assert [step for *_, step in steps if step.startswith("SCAN")] == []


def test_a_callback_token_in_a_body_is_not_kept_and_the_rest_is_byte_for_byte(
    connection: Connection,
) -> None:
    tokens = CallbackTokens(["secret"])
    for token in (tokens.reusable(), tokens.single()):
        body = b'{ "id" : "a",\t"request":{"callback_url":"https://t.example/callbacks/%b?x=1"}}'
        kept = deliveries.body_of(connection, keep(connection, body % token.encode()))
        assert kept == body % b"[redacted]"


@pytest.mark.parametrize("escaped", ["\\u002e", "\\u002E", "."])
def test_a_token_that_json_writes_otherwise_is_not_kept_either(
    connection: Connection, escaped: str
) -> None:
    token = CallbackTokens(["secret"]).reusable()
    body = f'{{"id":"a", "x":"\\u00e9","u":"/{token.replace(".", escaped)}"}}'.encode()
    kept = deliveries.body_of(connection, keep(connection, body))
    assert kept is not None
    assert json.loads(kept) == {"id": "a", "x": "é", "u": "/[redacted]"}
    assert kept.startswith(b'{"id":"a", "x":"\\u00e9","u":"')


def test_the_same_callback_is_known_again_though_its_token_is_not_kept(
    connection: Connection,
) -> None:
    body = f'{{"id":"a","u":"{CallbackTokens(["secret"]).reusable()}"}}'.encode()
    assert keep(connection, body) == keep(connection, body, 1)


@pytest.mark.sqlite  # its query plans are readable
@pytest.mark.parametrize(
    ("index", "look"),
    [
        ("ix_deliveries_unfolded", lambda c: deliveries.unfolded(c, "", 10)),
        ("ix_deliveries_unfolded", deliveries.oldest_unfolded),
        ("ix_deliveries_unfolded", deliveries.oldest_untried),
        ("ix_deliveries_given_up", deliveries.given_up),
    ],
)
def test_looking_for_what_could_not_be_folded_reads_nothing_else(
    connection: Connection, index: str, look: Callable[[Connection], object]
) -> None:
    """Anyone with the URL can fill the inbox with deliveries that name no generation."""
    said = list[tuple[str, Any]]()

    @event.listens_for(connection, "before_cursor_execute")
    def _note(_c: object, _cursor: object, sql: str, parameters: Any, *_more: object) -> None:
        said.append((sql, parameters))

    look(connection)
    sql, parameters = said[0]
    steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()
    assert all(index in step for *_, step in steps)
