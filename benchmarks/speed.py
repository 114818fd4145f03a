"""How fast every path is, against what else there could be.

    python -m benchmarks.speed                     all rows, under ten minutes; RESULTS.md
    python -m benchmarks.speed --quick             the same in small, under two; nothing is written
    python -m benchmarks.speed --rows get-cached   some of them
    python -m benchmarks.speed --check             exits 1, and names each row below its floor

All of it is driven from outside: real processes, real sockets, and after each storm of callbacks a
look into the database, whether what was answered is there.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from math import nan

from benchmarks.asking import Wrong
from benchmarks.finding import Finding, Row
from benchmarks.machine import described
from benchmarks.processes import NotStarted
from benchmarks.results import refused, table, write
from benchmarks.rows import ROWS
from benchmarks.stage import Skipped, Stage


def main() -> None:
    """Run from the command line."""
    given = _parser().parse_args()
    rows = [row for row in ROWS if not given.rows or row.name in given.rows]
    results = measure(rows, quick=given.quick)
    machine = described()
    print("\n".join(["", *machine, "", *table(results), ""]))
    if given.write or not (given.quick or given.rows):
        write(results, machine)
    bad = refused(results)
    print("\n".join(f"below its floor: {reason}" for reason in bad), file=sys.stderr)
    sys.exit(1 if given.check and bad else 0)


def measure(rows: Sequence[Row], *, quick: bool) -> dict[str, Finding | str]:
    """One row after the other, on servers that they share."""
    results: dict[str, Finding | str] = {}
    with Stage(quick=quick) as stage:
        for row in rows:
            begun = time.monotonic()
            results[row.name] = _of(row, stage)
            print(_line(row, results[row.name], time.monotonic() - begun), flush=True)
    return results


def _of(row: Row, stage: Stage) -> Finding | str:
    try:
        return row.measure(stage)
    except Skipped as reason:
        return str(reason)
    except (Wrong, NotStarted) as error:
        return Finding(nan, "", "", fault=str(error))


def _line(row: Row, result: Finding | str, seconds: float) -> str:
    told = f"skipped: {result}" if isinstance(result, str) else row.shown(result.figure)
    return f"{row.name:18} {told:28} {row.bound(row.target):18} ({seconds:.0f} s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="fewer and shorter slices")
    parser.add_argument("--check", action="store_true", help="fail if a row is below its floor")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md in any case")
    return parser


if __name__ == "__main__":
    main()
