"""Open rows are read in the order in which they are due, and claimed by one instance."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete

from service.storage import generations
from service.storage.generations import GENERATIONS, claim, find, open_rows
from tests.single import save
from tests.storage.test_generations import NOON, generation

UNTIL = NOON + timedelta(seconds=45)


@pytest.fixture(autouse=True)
def _empty(connection: Connection) -> None:
    connection.execute(delete(GENERATIONS))


def store(connection: Connection, id_: str, due: float | None, **given: Any) -> None:
    """Store an open row that is due so many seconds after noon."""
    at = None if due is None else NOON + timedelta(seconds=due)
    values = {"state": "processing", "upstream": "agents", **given}
    assert save(connection, None, generation(id=id_, next_check_at=at, **values))


def ids(connection: Connection, limit: int = 10) -> list[str]:
    return [row.id for row in open_rows(connection, "agents", limit)]


def test_open_rows_are_read_the_longest_due_first(connection: Connection) -> None:
    store(connection, "later", 60)
    store(connection, "due", -60)
    store(connection, "just due", 0)
    store(connection, "claimed by a callback", -90, state="completed")
    store(connection, "never checked", None)
    store(connection, "elsewhere", -90, upstream="dream_machine")
    assert ids(connection) == ["due", "just due", "later"]
    assert ids(connection, limit=2) == ["due", "just due"]


def test_a_row_is_claimed_once_in_the_order_given(connection: Connection) -> None:
    for id_ in ("a", "b", "c"):
        store(connection, id_, 0)
    a, b, c = open_rows(connection, "agents", 10)
    assert [row.id for row in claim(connection, [c, a], UNTIL)] == ["c", "a"]
    assert [row.id for row in claim(connection, [a, b], UNTIL)] == ["b"]
    claimed = find(connection, "a")
    assert claimed
    assert claimed.next_check_at == UNTIL


def test_a_row_that_has_ended_meanwhile_is_not_claimed(connection: Connection) -> None:
    store(connection, "a", 0)
    rows = open_rows(connection, "agents", 10)
    row = find(connection, "a")
    assert row
    ended = row._replace(state="completed", rev=row.rev + 1, next_check_at=None)
    generations.save(connection, [generations.Change(row, ended)])
    assert claim(connection, rows, UNTIL) == []
