"""Rows of size: what a table of a million rows does to the time of the commonest questions."""

import asyncio
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, literal_column, select

from benchmarks.filling import fill
from benchmarks.finding import Finding
from benchmarks.growth import measure
from benchmarks.questions import QUESTIONS
from benchmarks.stage import Stage
from service.storage.engine import Database
from service.storage.generations import GENERATIONS

_POINT, _PAGE = "point read", "newest page"
_ROUNDS = 40
_MADE = 50_000
"""Rows that are made as the service makes them; the rest are copies under other ids."""


def point_read(stage: Stage) -> Finding:
    """A lookup in the database."""
    return _grown(stage, _POINT)


def newest_page(stage: Stage) -> Finding:
    """The newest page of 20."""
    return _grown(stage, _PAGE)


def _grown(stage: Stage, name: str) -> Finding:
    small, large = sizes = (1_000, 100_000 if stage.quick else 1_000_000)
    times = stage.once("growth", lambda: _measured(sizes))
    ours, peer = times[name, large], times[name, small]
    note = f"{large:,} rows against {small:,}"
    return Finding(ours / peer, f"{ours * 1e6:,.0f} µs", f"{peer * 1e6:,.0f} µs", note)


def _measured(sizes: tuple[int, int]) -> dict[tuple[str, int], float]:
    asked = [question for question in QUESTIONS if question.name in (_POINT, _PAGE)]
    return asyncio.run(measure("sqlite", sizes, _ROUNDS, asked, fill_by_copies))[0]


async def fill_by_copies(database: Database, count: int, now: datetime) -> list[str]:
    """Ten times as fast as making all; only the rows made have a history."""
    await fill(database, min(count, _MADE), now)
    await database.write(_copy, count // _MADE - 1)
    return await database.read(_ids)


def _copy(connection: Connection, times: int) -> None:
    """All that there is, so many times more, at the same moments of the year."""
    made: Any = connection.execute(
        select(func.max(literal_column("rowid"))).select_from(GENERATIONS)
    )
    last: int = made.scalar_one()
    others = [column for column in GENERATIONS.c if column.name != "id"]
    id_ = func.lower(func.hex(func.randomblob(16)))
    copied = select(id_, *others).where(literal_column("rowid") <= last)
    for _ in range(times):
        connection.execute(GENERATIONS.insert().from_select(["id", *others], copied))


def _ids(connection: Connection) -> list[str]:
    return list(connection.execute(select(GENERATIONS.c.id)).scalars())
