"""What databases hold after a storm, asked past the servers, and whether it is what they said."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

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


def deliveries_in(file: Path, prefix: str) -> dict[str, int]:
    """How many deliveries our inbox has of each generation whose id begins so."""
    with _opened(file) as database:
        return dict(
            database.execute(
                "SELECT generation_id, count(*) FROM deliveries WHERE generation_id GLOB ?"
                " GROUP BY 1",
                (f"{prefix}*",),
            )
        )


def told_in(file: Path, table: str, prefix: str) -> dict[str, int]:
    """How many of its callbacks the row of each generation has seen, by its state."""
    with _opened(file) as database:
        found = database.execute(
            f"SELECT id, state FROM {table} WHERE id GLOB ?",  # noqa: S608 - our own names
            (f"{prefix}*",),
        )
        return {id_: _TOLD[state] for id_, state in found}


def ids_in(file: Path) -> list[str]:
    """Every generation's id."""
    with _opened(file) as database:
        return [id_ for (id_,) in database.execute("SELECT id FROM generations")]


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        yield connection
