"""What databases hold after a storm, asked past the servers, and whether it is what they said."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

_TOLD = {"dreaming": 1, "completed": 2}
"""How many of a generation's two callbacks a row in that state has seen."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What was answered with 200, against what is stored."""

    answered: int
    stored: int
    lost: int
    """Answered, but not stored."""
    extra: int
    """Stored, but not answered."""

    @property
    def exact(self) -> bool:
        """Whether it is the same, one by one."""
        return not self.lost and not self.extra

    def __str__(self) -> str:
        if self.exact:
            return f"{self.answered:,} answered and stored"
        return f"{self.answered:,} answered, {self.lost:,} of them lost, {self.extra:,} unanswered"


def balance(answered: Mapping[str, int], stored: Mapping[str, int]) -> Balance:
    """Compare, name by name, how often each was."""
    names = answered.keys() | stored.keys()
    differences = [answered.get(name, 0) - stored.get(name, 0) for name in names]
    return Balance(
        sum(answered.values()),
        sum(stored.values()),
        sum(d for d in differences if d > 0),
        -sum(d for d in differences if d < 0),
    )


def deliveries_in(url: str, prefix: str) -> dict[str, int]:
    """How many deliveries our inbox has of each generation whose id begins so."""
    return dict(
        _rows(
            url,
            "SELECT generation_id, count(*) FROM deliveries"  # noqa: S608 - our own names
            f" WHERE generation_id LIKE '{prefix}%' GROUP BY 1",
        )
    )


def told_in(url: str, table: str, prefix: str) -> dict[str, int]:
    """How many of its callbacks the row of each generation has seen, by its state."""
    told = f"SELECT id, state FROM {table} WHERE id LIKE '{prefix}%'"  # noqa: S608 - our own names
    return {id_: _TOLD[state] for id_, state in _rows(url, told)}


def ids_in(url: str) -> list[str]:
    """Every generation's id."""
    return [id_ for (id_,) in _rows(url, "SELECT id FROM generations")]


def _rows(url: str, question: str) -> list[tuple[Any, ...]]:
    with _opened(url) as connection:
        return list(connection.execute(question).fetchall())


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    if not url.startswith("sqlite"):
        with psycopg.connect(url) as connection:
            yield connection
        return
    file = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        yield connection
