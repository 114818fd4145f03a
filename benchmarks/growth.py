"""What happens to the time of each operation while the tables grow.

    python -m benchmarks.growth --rows 1000 100000 1000000 --engine sqlite --engine postgres

Fills a migrated database of each size, then asks all of them in turn, so that whatever else the
machine does hits all sizes alike, and shows medians. `--check` fails if an operation that must
not grow with the table takes more than 1.6 times as long in the largest as in the smallest.
PostgreSQL is a server of the script's own, with the durability that it has by default;
`partitioned` is the same with the partitions of docs/scale.md.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter

import psycopg
from sqlalchemy import Connection, text

from benchmarks.documented import PARTITIONS, statements
from benchmarks.filling import YEAR, fill
from benchmarks.questions import QUESTIONS, Place, Question, place
from service.storage import migrating
from service.storage.engine import Database, open_database
from tests.postgres import serving

ALLOWED = 1.6
"""How much slower the largest may be than the smallest."""

ENGINES = ("sqlite", "postgres", "partitioned")

_TABLES = ("generations", "events", "deliveries")
_AT_ONCE = 8  # measurements of one operation before the next has its turn
_TURN = 1.0  # seconds for those
_LONGEST = 5.0  # seconds for one operation at one size, all rounds together
_SERVER = {"shared_buffers": "128MB", "max_wal_size": "1GB"}  # PostgreSQL's own defaults

Measured = dict[tuple[str, int], float]
"""Seconds by operation and size."""
Filling = Callable[[Database, int, datetime], Awaitable[list[str]]]
"""Puts so many generations into an empty database; answers their ids."""
Sizes = dict[tuple[str, int], tuple[int, int]]
"""Rows and bytes by table and size; indexes are in the bytes."""


def main() -> None:
    """Run from the command line."""
    given = _parser().parse_args()
    slow = []
    for engine in given.engine or ["sqlite"]:
        measured, sizes = asyncio.run(measure(engine, given.rows, given.repeat))
        print(report(engine, measured, sizes, given.rows), flush=True)
        slow += [f"{engine}: {name}" for name in grown(measured, given.rows)]
    if given.check and slow:
        sys.exit(f"More than {ALLOWED} times as slow as in the smallest: {'; '.join(slow)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000], metavar="N")
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--repeat", type=int, default=40, help="rounds over all operations")
    parser.add_argument("--check", action="store_true", help="fail if something grew")
    return parser


async def measure(
    engine: str,
    rows: Sequence[int],
    repeat: int,
    questions: Sequence[Question] = QUESTIONS,
    filling: Filling = fill,
) -> tuple[Measured, Sizes]:
    """Fill databases of these sizes, and measure in each.

    Args:
        filling: makes a size; what is asked of few tables needs no more than those.
    """
    async with AsyncExitStack() as stack:
        urls = stack.enter_context(_databases(engine))
        places = {}
        for size in rows:
            split = PARTITIONS if engine == "partitioned" else ()
            places[size] = await stack.enter_async_context(
                _filled(next(urls), size, split, filling)
            )
        sizes: Sizes = {}
        for size, where in places.items():
            found = await where.database.read(_sizes)
            sizes |= {(table, size): of_table for table, of_table in found.items()}
        return await _measure(places, repeat, questions), sizes


@contextmanager
def _databases(engine: str) -> Iterator[Iterator[str]]:
    """URLs of empty databases, as many as wanted."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            yield (f"sqlite:///{Path(folder) / f'{n}.db'}" for n in range(100))
        return
    with serving(_SERVER) as server:

        def made() -> Iterator[str]:
            for n in range(100):
                server.execute(f"CREATE DATABASE growth{n}")
                yield server.url(f"growth{n}")

        yield made()


@asynccontextmanager
async def _filled(
    url: str, size: int, split: Sequence[str], filling: Filling
) -> AsyncIterator[Place]:
    """A database with that many generations, settled as one is that has been at rest."""
    begun, now = monotonic(), datetime.now(UTC)
    unmigrated = open_database(url)
    await unmigrated.exclusively(migrating.upgrade)
    await unmigrated.close()
    _run(url, *(statements()[title] for title in split))
    async with open_database(url) as database:
        ids = await filling(database, size, now)
        if not url.startswith("sqlite"):  # what it does by itself, but not while we measure
            _run(url, "VACUUM ANALYZE", "CHECKPOINT")
        print(f"{size:,} rows filled in {monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        yield await place(database, ids, now, YEAR)


def _run(url: str, *scripts: str) -> None:
    if scripts:
        with psycopg.connect(url, autocommit=True) as connection:
            for script in scripts:
                connection.execute(script.encode())


def _sizes(connection: Connection) -> dict[str, tuple[int, int]]:
    bytes_of = (
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relkind = 'r' AND relname ~ CAST(:table AS text)"
    )
    if connection.dialect.name == "sqlite":
        bytes_of = (
            "SELECT sum(space.pgsize) FROM dbstat AS space JOIN sqlite_schema AS made USING (name)"
            " WHERE space.aggregate = TRUE AND made.tbl_name = :table"
        )
    found = {}
    for table in _TABLES:
        rows = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608
        size = connection.execute(text(bytes_of), {"table": table}).scalar_one()
        found[table] = rows, int(size)
    return found


async def _measure(
    places: dict[int, Place], repeat: int, questions: Sequence[Question]
) -> Measured:
    """Round after round over all operations and sizes; a slow one stops when its time is up."""
    times: dict[tuple[str, int], list[float]] = {}
    spent: dict[tuple[str, int], float] = {}
    for _ in range(repeat):
        for question in questions:
            for size, where in places.items():
                cell = question.name, size
                if spent.get(cell, 0.0) > _LONGEST:
                    continue
                begun = perf_counter()
                times.setdefault(cell, [])
                times[cell] += await question.seconds(where, _at_once(times[cell]))
                spent[cell] = spent.get(cell, 0.0) + perf_counter() - begun
    return {cell: median(taken) for cell, taken in times.items()}


def _at_once(before: Sequence[float]) -> int:
    """How often to ask in one turn: a slow question once, since a read is cut off after 10 s."""
    return max(min(int(_TURN / before[-1]), _AT_ONCE), 1) if before else 1


def grown(measured: Measured, rows: Sequence[int]) -> list[str]:
    """The operations that must not grow with the table, and did."""
    return [
        f"{question.name} {ratio:.1f}"
        for question in QUESTIONS
        if question.held and (ratio := _ratio(measured, question.name, rows)) > ALLOWED
    ]


def _ratio(measured: Measured, name: str, rows: Sequence[int]) -> float:
    return measured[name, max(rows)] / measured[name, min(rows)]


def report(engine: str, measured: Measured, sizes: Sizes, rows: Sequence[int]) -> str:
    """Two tables in Markdown: times, and space."""
    head = " | ".join(f"{size:,} rows" for size in rows)
    lines = [f"| {engine}, µs | {head} | ratio |", "|---|" + "--:|" * (len(rows) + 1)]
    for question in QUESTIONS:
        times = " | ".join(f"{measured[question.name, size] * 1e6:,.0f}" for size in rows)
        ratio = f"{_ratio(measured, question.name, rows):.2f}"
        lines.append(f"| {question.name} | {times} | {ratio} |")
    lines += ["", f"| {engine}, rows × bytes each | {head} |", "|---|" + "--:|" * len(rows)]
    for table in _TABLES:
        cells = (f"{n:,} × {size // max(n, 1):,}" for n, size in (sizes[table, r] for r in rows))
        lines.append(f"| {table} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
